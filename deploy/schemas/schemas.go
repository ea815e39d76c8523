// Package schemas holds the JSON Schemas (2020-12) of the messages that leave Sevwatch, for whoever reads those messages. What a field
// means is told in docs/messages.md; pipeline/wire/schema validates against these files.
package schemas

import "embed"

// Files are the schemas: incident.v1.schema.json and so on.
//
//go:embed *.schema.json
var Files embed.FS
