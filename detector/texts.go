package detector

// Texts makes strings of texts, the same string for the same text where it came lately: so it takes no room of its own, and is found to be equal at once.
type Texts struct {
	known map[string]string
}

// maxTexts is how many texts are remembered; beyond it remembering begins anew.
const maxTexts = 1 << 14

// String is the text as a string.
func (t *Texts) String(text []byte) string {
	s, known := t.known[string(text)]
	if !known {
		if t.known == nil || len(t.known) >= maxTexts {
			t.known = map[string]string{}
		}
		s = string(text)
		t.known[s] = s
	}
	return s
}
