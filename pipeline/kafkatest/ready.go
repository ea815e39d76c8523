package kafkatest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
)

// waitReady asks the brokers until every one that runs knows every one that runs. A broker opens its port to clients
// only when the controller has taken it in, so an answer of the broker itself says that it is there to stay.
func (c *Cluster) waitReady(ctx context.Context, started []*node) error {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond),
		backoff.WithMaxInterval(200*time.Millisecond),
		backoff.WithMaxElapsedTime(0), // ctx bounds it
	)
	var last error // why not yet: after ctx is done, Retry tells only that
	err := backoff.Retry(func() error {
		last = c.ready(ctx, started)
		return last
	}, backoff.WithContext(b, ctx))
	if err == nil {
		return nil
	}
	var tails strings.Builder
	for _, n := range started {
		fmt.Fprintf(&tails, "\nbroker %d wrote, at the end:\n%s", n.id, n.tail())
	}
	return fmt.Errorf("cannot start Kafka: %w: %w%s", err, last, tails.String())
}

func (c *Cluster) ready(ctx context.Context, started []*node) error {
	for _, n := range started {
		if n.pid() == 0 {
			return backoff.Permanent(fmt.Errorf("broker %d ended by itself", n.id))
		}
	}
	var up []*node
	for _, n := range c.nodes {
		if n.answers() {
			up = append(up, n)
		}
	}
	for _, n := range up {
		known, err := knownTo(ctx, n)
		if err != nil {
			return err
		}
		for _, other := range up {
			if !slices.Contains(known, other.id) {
				return fmt.Errorf("broker %d does not know broker %d", n.id, other.id)
			}
		}
	}
	return nil
}

// knownTo asks broker n which brokers it knows alive. It asks on a connection of its own, because the transport of
// kafka.Client answers such requests from what it remembers.
func knownTo(ctx context.Context, n *node) ([]int, error) {
	conn, err := dial(ctx, n)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	brokers, err := conn.Brokers()
	if err != nil {
		return nil, fmt.Errorf("cannot ask broker %d for its peers: %w", n.id, err)
	}
	ids := make([]int, len(brokers))
	for i, b := range brokers {
		ids[i] = b.ID
	}
	return ids, nil
}

// dial connects to broker n for a few quick questions.
func dial(ctx context.Context, n *node) (*kafka.Conn, error) {
	const limit = 5 * time.Second
	conn, err := (&kafka.Dialer{Timeout: limit}).DialContext(ctx, "tcp", n.addr)
	if err != nil {
		return nil, fmt.Errorf("cannot reach broker %d: %w", n.id, err)
	}
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot reach broker %d: %w", n.id, err)
	}
	return conn, nil
}
