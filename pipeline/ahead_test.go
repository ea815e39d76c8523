package pipeline

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// TestReadAhead: what is read ahead is what the reader has, with its error behind it.
func TestReadAhead(t *testing.T) {
	broken := errors.New("broken")
	for seed := range uint64(50) {
		g := rand.New(rand.NewPCG(seed, 1))
		want := make([]byte, g.IntN(4*aheadSize))
		for i := range want {
			want[i] = byte(g.Uint32())
		}
		readers := []io.Reader{bytes.NewReader(want), iotest.HalfReader(bytes.NewReader(want)), iotest.DataErrReader(bytes.NewReader(want))}
		for i, r := range readers {
			fails := g.IntN(2) == 0
			if fails {
				r = io.MultiReader(r, iotest.ErrReader(broken))
			}
			a := readAhead(r)
			got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(a, 10)))
			if err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(a)
			if got = append(got, rest...); !bytes.Equal(got, want) {
				t.Fatalf("seed %d, reader %d: read %d bytes, not the %d that there are", seed, i, len(got), len(want))
			}
			if fails != errors.Is(err, broken) {
				t.Fatalf("seed %d, reader %d: the error is %v", seed, i, err)
			}
			if err := a.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestReadAheadIsEndedEarly: it can be closed at any time; the goroutine is gone then.
func TestReadAheadIsEndedEarly(t *testing.T) {
	endless := rand.NewChaCha8([32]byte{})
	for _, n := range []int{0, 1, aheadSize, 10 * aheadSize} {
		a := readAhead(endless)
		if _, err := io.ReadFull(a, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if err := a.close(); err != nil {
			t.Fatal(err)
		}
	}
}
