package sets

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
)

// petShopBulks yields the bulks of tables that follow one another, a row at a time.
func petShopBulks(fsys fs.FS, files []string) bulkSeq {
	return func(yield func([]bulk, error) bool) {
		for _, file := range files {
			err := petShopRows(fsys, file, func(row []bulk) bool { return yield(row, nil) })
			if errors.Is(err, errStopped) {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("cannot read %s: %w", file, err))
				return
			}
		}
	}
}

// errStopped says that nobody wants more rows.
var errStopped = errors.New("stopped")

// petShopRows gives the bulks of each row to f, until f returns false.
func petShopRows(fsys fs.FS, file string, f func([]bulk) bool) error {
	in, err := openFile(fsys, file)
	if err != nil {
		return err
	}
	defer in.Close()
	reader := csv.NewReader(in)
	reader.ReuseRecord = true
	components, err := petShopHeader(reader)
	if err != nil {
		return err
	}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		row, err := components.row(record)
		if err != nil {
			line, _ := reader.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, err)
		}
		if !f(row) {
			return errStopped
		}
	}
}

// A component is where a table has the numbers of one component.
type component struct {
	name         string
	requests     int
	availability int
	latency      [4]int // of petShopPercents
}

var petShopPercents = [4]int{50, 90, 95, 99}

type components []component

// petShopHeader reads the three header lines (component, metric, statistic) and the line that names
// the time. Components keep the order of their first column.
func petShopHeader(reader *csv.Reader) (components, error) {
	var lines [4][]string
	for i := range lines {
		record, err := reader.Read()
		if err != nil {
			return nil, fmt.Errorf("cannot read the header: %w", err)
		}
		lines[i] = slices.Clone(record)
	}
	places := map[string]int{}
	var names []string
	for i, name := range lines[0] {
		places[name+"|"+lines[1][i]+"|"+lines[2][i]] = i
		if i > 0 && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	all := make(components, len(names))
	for i, name := range names {
		c := component{name: keep(name)}
		wanted := map[string]*int{"requests|Sum": &c.requests, "availability|Average": &c.availability}
		for j, percent := range petShopPercents {
			wanted["latency|p"+strconv.Itoa(percent)] = &c.latency[j]
		}
		for column, place := range wanted {
			at, ok := places[name+"|"+column]
			if !ok {
				return nil, fmt.Errorf("no column %s of %q", column, name)
			}
			*place = at
		}
		all[i] = c
	}
	return all, nil
}

// row is what one row says, component after component.
func (all components) row(record []string) ([]bulk, error) {
	unix, err := strconv.ParseFloat(record[0], 64)
	if err != nil {
		return nil, err
	}
	startMs := int64(unix) * 1000
	var row []bulk
	for _, c := range all {
		if record[c.requests] == "" {
			continue // the component had no requests: silence, not zeros
		}
		b, err := c.bulk(record)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		b.startMs, b.endMs = startMs, startMs+petShopRowMs
		row = append(row, b)
	}
	return row, nil
}

func (c component) bulk(record []string) (bulk, error) {
	requests, err := strconv.ParseFloat(record[c.requests], 64)
	if err != nil || requests < 1 {
		return bulk{}, err
	}
	cells := []string{record[c.availability]}
	for _, place := range c.latency {
		cells = append(cells, record[place])
	}
	numbers, err := parseFloats(cells)
	if err != nil {
		return bulk{}, err
	}
	n := min(int(requests), petShopCap)
	b := bulk{service: c.name, endpoint: "/", requests: n, errors: failures(n, numbers[0])}
	for i, percent := range petShopPercents {
		b.quantiles = append(b.quantiles, quantile{percent: percent, durationMs: numbers[1+i] * 1000})
	}
	return b, nil
}
