// Package wire turns bytes into events and messages into bytes. It is pure: it knows no Kafka, no files and no clock.
package wire

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is what is written to a topic.
type Record struct {
	Key     []byte
	Value   []byte
	Headers []Header
	Time    int64 // epoch ms
}

// Header is the value of the header with that key, or nil.
func (r *Record) Header(key string) []byte {
	for _, h := range r.Headers {
		if h.Key == key {
			return h.Value
		}
	}
	return nil
}
