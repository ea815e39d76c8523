package pipeline

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"

	"sevwatch/pipeline/kafkatest"
	"sevwatch/pipeline/wire"
	"sevwatch/pipeline/wire/schema"
)

// TestHealthz: what a worker answers is a message as it writes them to the health topic, under the same name.
func TestHealthz(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	free := listener.Addr().String()
	check(t, listener.Close())
	addr, _ := kafkatest.Fake(t)
	p := newPipeline(t, addr, func(c *Config) { c.HTTP.Listen = free })
	_, stop := p.start()
	defer stop()
	var answer []byte
	p.until("an answer", func() bool {
		req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, "http://"+free+"/healthz", nil)
		check(t, err)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		answer, err = io.ReadAll(res.Body)
		return err == nil
	})
	if err := schema.Validate("health.v1", answer); err != nil {
		t.Errorf("%s: %v", answer, err)
	}
	name := func(message []byte) string {
		var h wire.Health
		check(t, json.Unmarshal(message, &h))
		return h.Worker
	}
	p.until("a heartbeat", func() bool { return len(p.read(p.cfg.Topics.Health)) > 0 })
	if on := p.read(p.cfg.Topics.Health)[0]; name(on.Value) != name(answer) || string(on.Key) != name(answer) {
		t.Errorf("the heartbeat is of %q under the key %q, the answer of %q", name(on.Value), on.Key, name(answer))
	}
}
