package pipeline

import "io"

// ahead reads on from another reader while what was read is worked on, some blocks ahead at most.
type ahead struct {
	blocks chan block // read
	free   chan []byte
	stop   chan struct{}
	now    block
	rest   []byte // of now, not taken yet
}

type block struct {
	data []byte
	err  error // behind the data
}

const (
	aheadBlocks = 4
	aheadSize   = 256 << 10
)

// readAhead begins to read; close ends it.
func readAhead(from io.Reader) *ahead {
	a := &ahead{blocks: make(chan block, aheadBlocks), free: make(chan []byte, aheadBlocks), stop: make(chan struct{})}
	for range aheadBlocks {
		a.free <- make([]byte, aheadSize)
	}
	go a.run(from)
	return a
}

func (a *ahead) run(from io.Reader) {
	defer close(a.blocks)
	for {
		select {
		case <-a.stop:
			return
		case buf := <-a.free:
			n, err := from.Read(buf)
			a.blocks <- block{buf[:n], err} // there is room for every buffer
			if err != nil {
				return
			}
		}
	}
}

// Read is io.Reader's.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.data != nil {
			a.free <- a.now.data[:cap(a.now.data)]
		}
		a.now = <-a.blocks
		a.rest = a.now.data
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// close ends the reading and waits for it.
func (a *ahead) close() error {
	close(a.stop)
	for range a.blocks { // until it is closed
	}
	return nil
}
