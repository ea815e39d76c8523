package ruletest

import "strings"

// difference is both lists as one, with - before what was only expected and + before what was only told; "" if they agree. It is the
// longest common subsequence: what agrees stays in line.
func difference(want, got []Line) string {
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if want[i].meets(&got[j]) {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	if len(want) == len(got) && common[0][0] == len(want) {
		return ""
	}
	var b strings.Builder
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i].meets(&got[j]) && common[i][j] == common[i+1][j+1]+1:
			b.WriteString("  " + got[j].text + "\n")
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			b.WriteString("- " + want[i].text + "\n")
			i++
		default:
			b.WriteString("+ " + got[j].text + "\n")
			j++
		}
	}
	return b.String()
}
