package sets

import "testing"

func TestParseLogLine(t *testing.T) {
	f := func(message, errorType, text string) {
		t.Helper()
		got, err := parseLogLine(message)
		if err != nil || got.errorType != errorType || got.text != text {
			t.Errorf("%+v, %v; want %q, %q", got, err, errorType, text)
		}
	}
	const ids = " TraceID: fe6bf62f357743299319d640878ea4f0 SpanID: ef8f664fb163e35f "
	f("17:43:10.332 ERROR  v.s.i.VerifyCodeServiceImpl#129"+ids+"[verifyCode][Code not found]",
		"v.s.i.VerifyCodeServiceImpl", "[verifyCode][Code not found]")
	f("17:33:14.720 ERROR o.a.c.c.C.[.[.[.[dispatcherServlet]#175"+ids+"threw [nested exception is java.lang.IllegalStateException: No ",
		"IllegalStateException", "threw [nested exception is java.lang.IllegalStateException: No ")
	f("17:33:14.720 ERROR o.a.c.c.C.[.[.[.[dispatcherServlet]#175"+ids+"threw [nested exception is org.springframework.web.client.HttpS",
		"HttpS*", "threw [nested exception is org.springframework.web.client.HttpS")
	if _, err := parseLogLine("17:43:10.332 INFO all is well"); err == nil {
		t.Error("an INFO line was read as an error")
	}
}

func TestShorten(t *testing.T) {
	f := func(text string, n int, want string) {
		t.Helper()
		if got := shorten(text, n); got != want {
			t.Errorf("shorten(%q, %d) = %q, want %q", text, n, got, want)
		}
	}
	f("abc", 3, "abc")
	f("abcd", 3, "abc")
	f("abé", 3, "ab")
	f("é", 1, "")
}
