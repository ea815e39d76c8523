package fetch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
)

// Record is one record of a partition. Its bytes lie in the response's buffer and hold until the response is released or, where the
// batch was compressed, until the next batch.
type Record struct {
	Offset     int64
	Time       int64 // epoch ms: CreateTime, or LogAppendTime where the topic says so; -1: none
	Key, Value []byte
	Control    bool // a transaction marker, no data

	headers []byte // still encoded
	count   int64
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Headers decodes the record's headers.
func (r *Record) Headers() ([]Header, error) {
	var out []Header
	for at := 0; len(out) < int(r.count); {
		var key, value []byte
		key, at = text(r.headers, at)
		if value, at = text(r.headers, at); at > len(r.headers) {
			return nil, errShort
		}
		out = append(out, Header{string(key), value})
	}
	return out, nil
}

// AddHeader adds a header to a record that was not fetched.
func (r *Record) AddHeader(key string, value []byte) {
	r.headers = append(binary.AppendVarint(r.headers, int64(len(key))), key...)
	r.headers = append(binary.AppendVarint(r.headers, int64(len(value))), value...)
	r.count++
}

// Aborted is one aborted transaction that a response names: its producer's records from First on are not to be read, up to its marker.
type Aborted struct {
	Producer int64
	First    int64
}

// Walker goes through the record batches of one partition, record by record, without allocating for one. Under read_committed it passes
// over the records of aborted transactions. It is one partition's: it remembers which producer is being aborted from response to response.
type Walker struct {
	// MaxUnpacked is how many bytes a batch's records may have once they are decompressed. 0 means MaxUnpacked.
	MaxUnpacked int

	in       []byte
	aborted  []Aborted
	position int64
	producer map[int64]bool // that have an aborted transaction open here

	batch    header
	records  []byte
	left     int32
	unpacked []byte
	zstd     *zstd.Decoder
	rec      Record
	err      error
}

// Reset begins with a response's record batches. position is the offset that was asked for: a batch may begin earlier.
func (w *Walker) Reset(chunk *Chunk, position int64) {
	w.in, w.position, w.left, w.err = chunk.Batches, position, 0, nil
	w.aborted = slices.Clone(chunk.Aborted)
	slices.SortFunc(w.aborted, func(x, y Aborted) int { return int(x.First - y.First) })
	if w.producer == nil {
		w.producer = map[int64]bool{}
	}
}

// Position is the next offset to read: behind the last whole batch once Next has said false.
func (w *Walker) Position() int64 { return w.position }

// Record is the record that Next has found.
func (w *Walker) Record() *Record { return &w.rec }

// Err is what made Next stop early, if anything did.
func (w *Walker) Err() error { return w.err }

// Next goes on to the next data record or transaction marker.
func (w *Walker) Next() bool {
	for w.err == nil {
		if w.left > 0 {
			w.left--
			w.record()
			if w.err != nil {
				break
			}
			if w.rec.Offset >= w.position {
				w.position = w.rec.Offset + 1
				return true
			}
			continue
		}
		// Offsets that compaction took from the batch's end are behind us too.
		w.position = max(w.position, w.batch.next())
		if !w.open() {
			return false
		}
	}
	w.err = fmt.Errorf("cannot read the batch at offset %d: %w", w.batch.base, w.err)
	return false
}

// open goes on to the next batch that is to be read; false at the end.
func (w *Walker) open() bool {
	w.batch = header{}
	size, whole := batchSize(w.in)
	if !whole {
		return false // the broker cuts the last batch where the response is full
	}
	data := w.in[:size]
	w.in = w.in[size:]
	if w.err = w.batch.read(data); w.err != nil {
		return true
	}
	if w.batch.next() <= w.position {
		w.batch = header{}
		return true
	}
	if w.batch.transactional() && w.isAborted() {
		w.position = max(w.position, w.batch.next())
		return true
	}
	body := data[headerSize:]
	if w.batch.compression() != 0 {
		body, w.err = w.unpack(body)
	}
	w.records, w.left = body, w.batch.count
	return true
}

// isAborted decides whether the batch belongs to an aborted transaction, as the Java client's CompletedFetch does: a transaction counts
// as aborted from the offset that the response names until its marker.
func (w *Walker) isAborted() bool {
	for len(w.aborted) > 0 && w.aborted[0].First <= w.batch.last() {
		w.producer[w.aborted[0].Producer] = true
		w.aborted = w.aborted[1:]
	}
	if w.batch.control() {
		delete(w.producer, w.batch.producer)
		return false
	}
	return w.producer[w.batch.producer]
}

// record decodes the next record of the batch.
func (w *Walker) record() {
	in := w.records
	length, at := varint(in, 0)
	switch {
	case at > len(in):
		w.err = errShort
		return
	case length < 0 || length > int64(len(in)-at):
		w.err = errors.New("a record is longer than its batch")
		return
	}
	in, w.records = in[at:at+int(length)], in[at+int(length):]
	time, at := varint(in, 1) // behind the attributes
	offset, at := varint(in, at)
	r := &w.rec
	r.Key, at = text(in, at)
	r.Value, at = text(in, at)
	if r.count, at = varint(in, at); at > len(in) {
		w.err = errShort
		return
	}
	r.Time, r.Offset, r.headers, r.Control = w.batch.baseTime+time, w.batch.base+offset, in[at:], w.batch.control()
	if w.batch.attributes&logAppendTime != 0 {
		r.Time = w.batch.maxTime
	}
}

// MaxUnpacked bounds the memory that one batch can take: what compresses well can be a thousand times as large as what the broker let pass.
const MaxUnpacked = 256 << 20

// maxKept is how much of it is kept for the next batch.
const maxKept = 16 << 20

// unpack decompresses a batch's records.
func (w *Walker) unpack(body []byte) (_ []byte, err error) {
	limit := cmp.Or(w.MaxUnpacked, MaxUnpacked)
	if cap(w.unpacked) > maxKept {
		w.unpacked = nil // a partition does not keep what one of its batches took
	}
	switch kind := compress.Compression(w.batch.compression()); kind {
	case compress.Zstd:
		if w.zstd == nil {
			if w.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit))); err != nil {
				return nil, err
			}
		}
		w.unpacked, err = w.zstd.DecodeAll(body, w.unpacked[:0])
		switch {
		case errors.Is(err, zstd.ErrDecoderSizeExceeded):
			err = tooLarge(limit)
		case errors.Is(err, zstd.ErrWindowSizeExceeded):
			err = fmt.Errorf("its zstd window is of more than %d bytes", limit)
		}
		return w.unpacked, err
	case compress.Snappy:
		w.unpacked, err = unsnap(w.unpacked[:0], body, limit)
		return w.unpacked, err
	case compress.Gzip, compress.Lz4:
		r := kind.Codec().NewReader(bytes.NewReader(body))
		w.unpacked, err = readAll(w.unpacked[:0], r, limit)
		return w.unpacked, errors.Join(err, r.Close())
	default:
		return nil, fmt.Errorf("compression %d is unknown", kind)
	}
}

// readAll appends all that a reader has, limit bytes at most.
func readAll(out []byte, r io.Reader, limit int) ([]byte, error) {
	for {
		if len(out) == cap(out) {
			out = slices.Grow(out, max(1, min(max(len(out), 64<<10), limit+1-len(out))))
		}
		n, err := r.Read(out[len(out):cap(out)])
		switch out = out[:len(out)+n]; {
		case len(out) > limit:
			return out, tooLarge(limit)
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return out, err
		}
	}
}

func tooLarge(limit int) error {
	return fmt.Errorf("its records have more than %d bytes once they are decompressed", limit)
}

// xerial begins what the Java client compresses with snappy, in blocks that have their length before them; behind it are two versions. What other
// clients write is one block.
const (
	xerial     = "\x82SNAPPY\x00"
	xerialSize = len(xerial) + 8
)

// unsnap appends what body has compressed with snappy.
func unsnap(out, body []byte, limit int) ([]byte, error) {
	switch {
	case len(body) == 0:
		return out, nil
	case len(body) < xerialSize || string(body[:len(xerial)]) != xerial:
		return unsnapBlock(out, body, limit)
	}
	for body = body[xerialSize:]; len(body) > 0; {
		if len(body) < 4 {
			return out, errShort
		}
		announced := binary.BigEndian.Uint32(body)
		if body = body[4:]; uint64(announced) > uint64(len(body)) {
			return out, errShort
		}
		size := int(announced)
		var err error
		if out, err = unsnapBlock(out, body[:size], limit); err != nil {
			return out, err
		}
		body = body[size:]
	}
	return out, nil
}

// unsnapBlock trusts a block's own word on how long it will be only as far as it can be true: three bytes make at most 64.
func unsnapBlock(out, block []byte, limit int) ([]byte, error) {
	size, err := snappy.DecodedLen(block)
	switch {
	case err != nil:
		return out, err
	case size/64 > len(block):
		return out, snappy.ErrCorrupt
	case size > limit-len(out):
		return out, tooLarge(limit)
	}
	out = slices.Grow(out, size)
	if _, err := snappy.Decode(out[len(out):len(out)+size], block); err != nil {
		return out, err
	}
	return out[:len(out)+size], nil
}

// header is the head of a record batch (Kafka documentation, "Record Batch").
type header struct {
	base       int64
	attributes int16
	lastDelta  int32
	baseTime   int64
	maxTime    int64
	producer   int64
	count      int32
	set        bool
}

const (
	headerSize    = 61
	logAppendTime = 1 << 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batchSize is the size of the first batch, and whether it is there as a whole. It is 0 where there is too little to tell.
func batchSize(in []byte) (size int, whole bool) {
	if len(in) < batchHead {
		return 0, false
	}
	size = batchHead + int(int32(binary.BigEndian.Uint32(in[8:])))
	return size, size >= headerSize && size <= len(in)
}

func (h *header) read(in []byte) error {
	if magic := in[16]; magic != 2 {
		return fmt.Errorf("it has the format %d, expected 2", magic)
	}
	if sum := crc32.Checksum(in[21:], castagnoli); sum != binary.BigEndian.Uint32(in[17:]) {
		return fmt.Errorf("it is damaged: its checksum is %08x, expected %08x", sum, binary.BigEndian.Uint32(in[17:]))
	}
	*h = header{
		base:       int64(binary.BigEndian.Uint64(in)),
		attributes: int16(binary.BigEndian.Uint16(in[21:])),
		lastDelta:  int32(binary.BigEndian.Uint32(in[23:])),
		baseTime:   int64(binary.BigEndian.Uint64(in[27:])),
		maxTime:    int64(binary.BigEndian.Uint64(in[35:])),
		producer:   int64(binary.BigEndian.Uint64(in[43:])),
		count:      int32(binary.BigEndian.Uint32(in[57:])),
		set:        true,
	}
	return nil
}

func (h *header) last() int64         { return h.base + int64(h.lastDelta) }
func (h *header) compression() int16  { return h.attributes & 7 }
func (h *header) transactional() bool { return h.attributes&(1<<4) != 0 }
func (h *header) control() bool       { return h.attributes&(1<<5) != 0 }

// next is the offset behind the batch, 0 of no batch.
func (h *header) next() int64 {
	if !h.set {
		return 0
	}
	return h.last() + 1
}

// batchHead is so much of a batch as tells its size.
const batchHead = 12

// ahead is the offset behind the last whole batch, or position if there is none: where the next request begins. largest is the size of the largest
// batch, among them one at the end that is not there as a whole; 0 of nothing.
func ahead(in []byte, position int64) (next int64, largest int) {
	for next = position; len(in) >= batchHead; {
		size, whole := batchSize(in)
		if size < headerSize {
			break
		}
		if largest = max(largest, size); !whole {
			break
		}
		base := int64(binary.BigEndian.Uint64(in))
		next = max(next, base+int64(int32(binary.BigEndian.Uint32(in[23:])))+1)
		in = in[size:]
	}
	return next, largest
}

var errShort = errors.New("a record ends early")

// varint reads the number that begins at a place, and where it ends. That is beyond the end of in where there is no number, or the place is
// beyond it already.
func varint(in []byte, at int) (v int64, end int) {
	if at < len(in) && in[at] < 0x80 { // most have one byte
		return int64(in[at]>>1) ^ -int64(in[at]&1), at + 1
	}
	return longVarint(in, at)
}

func longVarint(in []byte, at int) (v int64, end int) {
	if at+1 < len(in) && in[at+1] < 0x80 { // the others have two
		u := int64(in[at]&0x7f) | int64(in[at+1])<<7
		return u>>1 ^ -(u & 1), at + 2
	}
	if at < len(in) {
		if v, n := binary.Varint(in[at:]); n > 0 {
			return v, at + n
		}
	}
	return 0, len(in) + 1
}

// text reads a length and as many bytes, and where they end, as varint does; a negative length is null.
func text(in []byte, at int) (b []byte, end int) {
	n, at := varint(in, at)
	switch {
	case n < 0 || at > len(in):
		return nil, at
	case n > int64(len(in)-at):
		return nil, len(in) + 1
	}
	return in[at : at+int(n) : at+int(n)], at + int(n)
}
