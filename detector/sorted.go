package detector

import (
	"cmp"
	"slices"
	"strings"
)

// SortedKeys are the keys of a map in order. It, sortedLabels and sortedSources are the only places where the engine walks over a
// map: nothing that comes out may depend on a map's order.
func SortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// sortedLabels are the keys of a map by name, then value.
func sortedLabels[V any](m map[Label]V) []Label {
	keys := make([]Label, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y Label) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Value, y.Value))
	})
	return keys
}

// sortedSources are the keys of a map by topic, then partition.
func sortedSources[V any](m map[Source]V) []Source {
	keys := make([]Source, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y Source) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return keys
}
