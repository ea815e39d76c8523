package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// stopWithin bounds the wait for requests that are still being served when a server stops.
const stopWithin = 5 * time.Second

// server is one HTTP server that can be waited for to the last connection.
type server struct {
	name        string
	listener    net.Listener
	http        *http.Server
	serving     sync.WaitGroup
	connections sync.WaitGroup
}

// serveError says that a server ended by itself.
type serveError struct {
	name string
	err  error
}

func (e *serveError) Error() string { return fmt.Sprintf("cannot serve %s: %v", e.name, e.err) }
func (e *serveError) Unwrap() error { return e.err }

// network is how the servers of a world are reached.
type network struct {
	listen func(name string) (net.Listener, error)
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// loopback gives every server a free port.
var loopback = network{
	listen: func(string) (net.Listener, error) {
		return (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	},
	dial: (&net.Dialer{}).DialContext,
}

// client keeps so many connections to a server.
func (n network) client(connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.dial, MaxIdleConnsPerHost: connections, DisableCompression: true}}
}

// serve makes a server that can be reached and does not answer yet.
func (n network) serve(name string, handler http.Handler) (*server, error) {
	listener, err := n.listen(name)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for %s: %w", name, err)
	}
	s := &server{name: name, listener: listener}
	s.http = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ConnState: s.follow}
	return s, nil
}

func (s *server) url() string {
	return "http://" + s.listener.Addr().String()
}

// start serves until stop; if serving ends before that, fail is told why.
func (s *server) start(fail context.CancelCauseFunc) {
	s.serving.Go(func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			fail(&serveError{name: s.name, err: err})
		}
	})
}

// stop lets running requests end, then waits for every goroutine of the server. A server that was never
// started only gives its port back.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("cannot stop %s in time: %w", s.name, err), s.http.Close())
	}
	_ = s.listener.Close() // Serve has closed it, unless it never ran
	s.serving.Wait()
	s.connections.Wait()
	return err
}

// follow counts connections. New ones are announced by the goroutine of Serve, so none is added once
// serving is over.
func (s *server) follow(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.connections.Done()
	}
}
