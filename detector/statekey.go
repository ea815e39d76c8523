package detector

import (
	"fmt"
	"strings"
)

// The records of a judge's state. Keys are made of parts; the first one says what it is. How many there are is in partsOf.
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

// partsOf is how many parts the keys of a kind of records have at most. The last one may hold the separator.
var partsOf = map[string]int{
	keyEdge: 1, keyWords: 1, keyRules: 2, keySource: 3, keySeen: 2, keyChanges: 2, keyAsked: 2, keyGroup: 4, keyRefused: 2, keyLimit: 4,
}

// A part that is not the last one says otherwise that it holds the separator.
var (
	escape   = strings.NewReplacer("\x1e", "\x1e0", keySeparator, "\x1e1")
	unescape = strings.NewReplacer("\x1e0", "\x1e", "\x1e1", keySeparator)
)

// key puts one together, for which it may change the parts.
func key(parts ...string) string {
	last := len(parts) - 1
	for i, part := range parts[:last] {
		parts[i] = escape.Replace(part)
	}
	return strings.Join(parts, keySeparator)
}

// partsOfKey takes a key apart.
func partsOfKey(k string) ([]string, error) {
	kind, _, _ := strings.Cut(k, keySeparator)
	n, ok := partsOf[kind]
	if !ok {
		return nil, fmt.Errorf("nobody knows what %q is", kind)
	}
	parts := strings.SplitN(k, keySeparator, n)
	if len(parts) < n && kind != keyRules {
		return nil, fmt.Errorf("its key has %d parts, expected %d", len(parts), n)
	}
	for i := range parts[:len(parts)-1] {
		parts[i] = unescape.Replace(parts[i])
	}
	return parts, nil
}

// IsSource says whether the record with that key is a PartitionProgress: what a judge was told last of a source partition.
func IsSource(key string) bool { return strings.HasPrefix(key, keySource+keySeparator) }
