package detector

import (
	"errors"
	"strings"
)

// The records of a judge's state. Keys are made of parts; the first one says what it is. A domain may hold the separator.
const (
	keySeparator = "\x1f"
	keyEdge      = "edge"
	keyWords     = "words"   // of people
	keyRules     = "rules"   // in force, where the log says which; with an offset: those of that control record, which wait for their edge
	keySource    = "source"  // and topic, partition
	keySeen      = "seen"    // and a number that comes round again
	keyChanges   = "changes" // and domain
	keyAsked     = "asked"   // and domain
	keyGroup     = "group"   // and domain, rule, group
	keyRefused   = "refused" // and domain
	keyLimit     = "limit"   // and domain, pane, number
)

func key(parts ...string) string { return strings.Join(parts, keySeparator) }

// domainOfLimit is the domain in what a limit's key has behind its first part.
func domainOfLimit(rest string) (string, error) {
	for range 2 { // a number and a pane
		i := strings.LastIndex(rest, keySeparator)
		if i < 0 {
			return "", errors.New("its key has no domain, pane and number")
		}
		rest = rest[:i]
	}
	return rest, nil
}

// domainOfGroup is the domain in what a group's key has behind its first part. A snapshot is JSON, whose keys have U+FFFD where others have
// SeriesKeyEnd.
func domainOfGroup(rest string, s *groupState) (string, error) {
	end := keySeparator + key(s.Rule, s.RuleHash+seriesKey(0, s.Labels))
	for _, end := range []string{end, strings.ToValidUTF8(end, "\ufffd")} {
		if domain, ok := strings.CutSuffix(rest, end); ok {
			return domain, nil
		}
	}
	return "", errors.New("its key is that of another rule or group")
}

// IsSource says whether the record with that key is a PartitionProgress: what a judge was told last of a source partition.
func IsSource(key string) bool { return strings.HasPrefix(key, keySource+keySeparator) }
