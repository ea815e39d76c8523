package txn

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// TestRetry: what may pass is tried again, what a broker refuses is not.
func TestRetry(t *testing.T) {
	for _, c := range []struct {
		err   error
		calls int
	}{
		{kafka.NotLeaderForPartition, 3},
		{kafka.Unknown, 3}, // a broker that is being killed
		{errors.New("connection reset by peer"), 3},
		{kafka.TopicAuthorizationFailed, 1},
	} {
		calls := 0
		err := Retry(t.Context(), time.Minute, func() error {
			if calls++; calls < 3 {
				return fmt.Errorf("cannot ask: %w", c.err)
			}
			return nil
		})
		if calls != c.calls || (err == nil) != (c.calls == 3) {
			t.Errorf("after %v there are %d calls and the error %v, expected %d calls", c.err, calls, err, c.calls)
		}
	}
}
