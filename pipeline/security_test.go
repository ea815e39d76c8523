package pipeline

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"sevwatch/pipeline/kafkatest"
	"sevwatch/rules"
)

// authority is a certificate for 127.0.0.1 and the file of who signed it.
func authority(t *testing.T) (*httptest.Server, string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return server, path
}

// A pipeline works over encrypted and authenticated connections as it does over plain ones: topics, groups, fetch and transactions.
func TestSecurity(t *testing.T) {
	server, ca := authority(t)
	f := func(name, mechanism string, s Security, opts ...kfake.Opt) {
		t.Run(name, func(t *testing.T) {
			if mechanism != "" {
				opts = append(opts, kfake.EnableSASL(), kfake.Superuser(mechanism, "anna", "secret"))
			}
			addr, _ := kafkatest.Fake(t, opts...)
			p := newPipeline(t, addr, func(c *Config) { c.Security = s })
			at := partition{p.topicOf(rules.KindError), 0}
			p.write(at, kafka.Record{Time: time.UnixMilli(1793534400000), Value: kafka.NewBytes([]byte(`{"service":"api"}`))})
			p.write(at, kafka.Record{Time: time.UnixMilli(1793534400000), Value: kafka.NewBytes([]byte(`x`))})
			w, stop := p.start()
			defer stop()
			p.until("both accounted for", func() bool { return w.Totals().Sum() == 2 })
			if n := len(p.read(p.cfg.Topics.Rejected)); n != 1 {
				t.Errorf("%d records were rejected, expected 1", n)
			}
		})
	}
	encrypted := kfake.TLS(server.TLS.Clone())
	f("TLS", "", Security{TLS: true, CA: ca}, encrypted)
	f("PLAIN over TLS", "PLAIN", Security{TLS: true, CA: ca, SASL: "plain", User: "anna", Password: "secret"}, encrypted)
	f("SCRAM-SHA-256", "SCRAM-SHA-256", Security{SASL: "scram-sha-256", User: "anna", Password: "secret"})
	f("SCRAM-SHA-512 over TLS", "SCRAM-SHA-512", Security{TLS: true, CA: ca, SASL: "scram-sha-512", User: "anna", Password: "secret"}, encrypted)
}

func TestSecurityMistakes(t *testing.T) {
	server, ca := authority(t)
	addr, _ := kafkatest.Fake(t, kfake.TLS(server.TLS.Clone()), kfake.EnableSASL(), kfake.Superuser("PLAIN", "anna", "secret"))
	f := func(s Security, want string) {
		t.Helper()
		c := parseConfig(t, "brokers: ["+addr+"]")
		c.Security = s
		if _, err := c.Connect(t.Context(), 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, expected %q in it", s, err, want)
		}
	}
	f(Security{TLS: true, CA: "nowhere.pem"}, "cannot read security.ca: open nowhere.pem")
	f(Security{TLS: true, CA: "security_test.go"}, "security_test.go holds no certificate")
	f(Security{TLS: true, Cert: ca, Key: ca}, "cannot read security.cert and security.key")
	f(Security{TLS: true}, "certificate signed by unknown authority")
	f(Security{TLS: true, CA: ca, SASL: "plain", User: "anna", Password: "guess"}, "cannot reach any of the brokers")
	f(Security{SASL: "plain", User: "anna", Password: "secret"}, "cannot reach any of the brokers")
}

func parseConfig(t *testing.T, text string) *Config {
	t.Helper()
	c, err := ParseConfig("test.yaml", []byte(text))
	check(t, err)
	return c
}
