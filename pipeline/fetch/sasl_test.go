package fetch

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"
)

// TestBrokerHangsBeforeItAuthenticates: a broker that takes the connection and says nothing holds up nobody who is told to end.
func TestBrokerHangsBeforeItAuthenticates(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan net.Conn, 10)
	go func() {
		defer close(taken)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			taken <- c
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := New(Config{
		Dialer:  &kafka.Dialer{Timeout: time.Second, SASLMechanism: plain.Mechanism{Username: "u", Password: "p"}},
		Brokers: []string{l.Addr().String()}, Isolation: kafka.ReadCommitted,
	}, []Start{{Topic: "t"}})
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	c := <-taken
	cancel()
	select {
	case <-ended:
	case <-time.After(8 * time.Second): // before the broker's time to authenticate is over
		t.Error("it has not ended")
	}
	_ = l.Close()
	_ = c.Close()
	for c := range taken {
		_ = c.Close()
	}
}
