package sets

import (
	"encoding/csv"
	"io/fs"
	"math"
	"strconv"
	"testing"
)

var petShopDev = petShop{dir: "petshop/dev", scenario: "low_traffic"}

// Each row of each component becomes as many requests as the table says, with its availability
// exactly: the source's shares are whole numbers of failed requests.
func TestPetShopMatchesTheTables(t *testing.T) {
	fsys := data(t)
	issues, err := petShopDev.issues(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if len(issues) != 26 {
		t.Errorf("%d issues", len(issues))
	}
	for i, issue := range issues {
		file := "petshop/dev/low_traffic/" + issue.part + "/" + issue.name + "/metrics.csv"
		if got := checkPetShopFile(t, fsys, file); got != 5 {
			t.Errorf("%s: %d rows", file, got)
		}
		if i > 0 && issue.rowsMs[0] < issues[i-1].rowsMs[1]+petShopRowMs {
			t.Errorf("issue %s/%s overlaps the one before", issue.part, issue.name)
		}
	}
	if got := checkPetShopFile(t, fsys, "petshop/dev/low_traffic/noissue/metrics.csv.gz"); got != 589 {
		t.Errorf("%d rows without issue", got)
	}
}

// checkPetShopFile compares the bulks of a file with its cells and returns the number of rows.
func checkPetShopFile(t *testing.T, fsys fs.FS, file string) int {
	t.Helper()
	in, err := openFile(fsys, file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	reader := csv.NewReader(in)
	components, err := petShopHeader(reader)
	if err != nil {
		t.Fatal(err)
	}
	records, err := reader.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		for _, c := range components {
			if record[c.requests] == "" {
				continue
			}
			b, err := c.bulk(record)
			if err != nil {
				t.Fatal(err)
			}
			requests, _ := strconv.ParseFloat(record[c.requests], 64)
			availability, _ := strconv.ParseFloat(record[c.availability], 64)
			if float64(b.requests) != requests {
				t.Errorf("%s: %d requests of %v", c.name, b.requests, requests)
			}
			if b.requests > 0 && math.Abs(100-100*float64(b.errors)/requests-availability) > 1e-6 {
				t.Errorf("%s: %d of %v failed, availability %v", c.name, b.errors, requests, availability)
			}
		}
	}
	return len(records)
}
