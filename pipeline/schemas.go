package pipeline

import (
	"context"
	"time"

	"sevwatch/pipeline/registry"
	"sevwatch/pipeline/wire"
)

// schemas finds the schemas of a replay's records, and waits for each.
type schemas struct {
	ask   func(id uint32) (wire.Schema, error)
	known map[uint32]wire.Schema
	err   error // why the last one is not known
}

func newSchemas(ctx context.Context, r *Registry, patience time.Duration) *schemas {
	client := registry.New(registry.Config{URL: r.URL, User: r.User, Password: r.Password})
	return &schemas{known: map[uint32]wire.Schema{}, ask: func(id uint32) (wire.Schema, error) { return client.Now(ctx, id, patience) }}
}

// Schema is the schema of a number; nil if the registry does not answer.
func (s *schemas) Schema(id uint32) wire.Schema {
	schema, known := s.known[id]
	if known {
		return schema
	}
	if schema, s.err = s.ask(id); s.err != nil {
		return nil
	}
	s.known[id] = schema
	return schema
}
