package pipeline

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"sevwatch/rules/strictyaml"
)

// Security is how connections to Kafka are protected.
type Security struct {
	Where    strictyaml.Where
	TLS      bool   `yaml:"tls"`
	CA       string `yaml:"ca"`   // PEM file; "": the system's
	Cert     string `yaml:"cert"` // PEM file of the client's certificate; "": none
	Key      string `yaml:"key"`
	SASL     string `yaml:"sasl"` // a mechanism; "": none
	User     string `yaml:"user"`
	Password string `yaml:"password"`
}

// mechanisms are those that SASL can be.
func (s *Security) mechanisms() map[string]func() (sasl.Mechanism, error) {
	return map[string]func() (sasl.Mechanism, error){
		"": func() (sasl.Mechanism, error) { return nil, nil },
		"plain": func() (sasl.Mechanism, error) {
			return plain.Mechanism{Username: s.User, Password: s.Password}, nil
		},
		"scram-sha-256": func() (sasl.Mechanism, error) { return scram.Mechanism(scram.SHA256, s.User, s.Password) },
		"scram-sha-512": func() (sasl.Mechanism, error) { return scram.Mechanism(scram.SHA512, s.User, s.Password) },
	}
}

func (k *checker) security(s *Security) {
	if s.mechanisms()[s.SASL] == nil {
		k.fail(s.Where.Of("sasl"), "sasl is %q, expected plain, scram-sha-256 or scram-sha-512", s.SASL)
	}
	if (s.User == "") != (s.SASL == "") && s.Where.Line > 0 {
		k.fail(s.Where.Of("user"), "user is %q and sasl is %q, expected both or neither", s.User, s.SASL)
	}
	if (s.Cert == "") != (s.Key == "") {
		k.fail(s.Where.Of("cert"), "cert is %q and key is %q, expected both or neither", s.Cert, s.Key)
	}
	for _, key := range s.Where.Among("ca", "cert") {
		if !s.TLS && (s.CA != "" && key == "ca" || s.Cert != "" && key == "cert") {
			k.fail(s.Where.Of(key), "%s stands without tls", key)
		}
	}
	if s.Password != "" && s.SASL == "" {
		k.fail(s.Where.Of("password"), "password stands without sasl")
	}
}

// tls is what a connection is encrypted with; nil where it is plain. The files are read each time: certificates are renewed.
func (s *Security) tls() (*tls.Config, error) {
	if !s.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, fmt.Errorf("cannot read security.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot read security.ca: %s holds no certificate", s.CA)
		}
	}
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot read security.cert and security.key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// dial opens a connection, encrypted where it has to be. kafka-go and pipeline/fetch both speak over what it returns.
func (s *Security) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := s.tls()
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{Timeout: 5 * time.Second}
	if c == nil {
		return d.DialContext(ctx, network, address)
	}
	return (&tls.Dialer{NetDialer: d, Config: c}).DialContext(ctx, network, address)
}

// check says what of it cannot work, before anything is tried.
func (s *Security) check() error {
	if _, err := s.mechanisms()[s.SASL](); err != nil {
		return fmt.Errorf("cannot use security.user and security.password: %w", err)
	}
	_, err := s.tls()
	return err
}

// mechanism is how connections are authenticated. check has been asked.
func (s *Security) mechanism() sasl.Mechanism {
	m, err := s.mechanisms()[s.SASL]()
	if err != nil {
		panic("BUG: the security was not checked: " + err.Error())
	}
	return m
}

// newDialer makes what opens connections to brokers.
func (c *Config) newDialer() *kafka.Dialer {
	return &kafka.Dialer{ClientID: "sevwatch", Timeout: 5 * time.Second, DialFunc: c.Security.dial, SASLMechanism: c.Security.mechanism()}
}
