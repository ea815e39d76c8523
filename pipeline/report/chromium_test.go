package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is a real Chromium of the machine's, or the test is skipped; in CI it has to be there.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is missing, and CI must not do without")
		}
		t.Skip("SKIP: chromium is missing")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// do carries out actions in the browser.
func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask is what an expression is worth on the page.
func ask[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// complaints are what the browser says on its console, and every address that it asks for.
type complaints struct {
	mu       sync.Mutex
	said     []string
	requests []string
}

func (c *complaints) listen(ev any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		c.said = append(c.said, fmt.Sprintf("%s %v", e.Type, e.Args))
	case *runtime.EventExceptionThrown:
		c.said = append(c.said, e.ExceptionDetails.Text)
	case *cdplog.EventEntryAdded:
		c.said = append(c.said, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		c.requests = append(c.requests, e.Request.URL)
	}
}

func (c *complaints) check(t *testing.T, path string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.said) > 0 {
		t.Errorf("the console says %q", c.said)
	}
	if len(c.requests) == 0 {
		t.Error("no request was seen, not even that of the page: the test looks in the wrong place")
	}
	for _, url := range c.requests {
		if !strings.HasPrefix(url, "file://"+path) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asks for %s", url)
		}
	}
}

const (
	// brokenWords is the first word in a table that stands on two lines, but for cells that may be broken anywhere.
	brokenWords = `[...document.querySelectorAll("th, td:not(.long)")].flatMap(c => [c, ...c.children]).flatMap(e => [...e.childNodes]).filter(
		n => n.nodeType === Node.TEXT_NODE && /^\w+$/.test(n.data.trim())
	).filter(n => {
		const r = document.createRange(); r.selectNodeContents(n); return new Set([...r.getClientRects()].filter(b => b.width > 5).map(b => b.top)).size > 1
	}).map(n => n.data.trim())[0] ?? ""`
	smallestText = `Math.min(...[...document.querySelectorAll("svg text")].map(x => x.getBoundingClientRect().height))`
)

// The page in a real browser: it asks for nothing else, says nothing on the console, fits a phone, is reached by keyboard and prints.
func TestReportInChromium(t *testing.T) {
	ctx := browser(t)
	path, collected := writePage(t)
	var c complaints
	if err := chromedp.Listen(ctx, c.listen); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate("file://"+path))
	if n := ask[int](t, ctx, `document.querySelectorAll("article").length`); n != len(collected.Past.Incidents) || n < 3 {
		t.Errorf("%d incidents on the page, expected %d", n, len(collected.Past.Incidents))
	}
	for _, width := range []int64{1280, 900, 820, 500, 390} {
		do(t, ctx, chromedp.EmulateViewport(width, 900))
		if wide := ask[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
			t.Errorf("at %d pixels the page is %d wide", width, wide)
		}
		_, said, _ := strings.Cut(ask[string](t, ctx, `document.querySelector("article p").innerText`), "lasted ")
		row := ask[string](t, ctx, `document.querySelector("tbody tr").innerText`)
		if lasted, now, found := strings.Cut(said, ", "); !found || !strings.Contains(row, lasted) || !strings.Contains(row, now) {
			t.Errorf("at %d pixels the first incident is listed as %q, expected %s in it", width, row, said)
		}
		if broken := ask[string](t, ctx, brokenWords); broken != "" {
			t.Errorf("at %d pixels %s is broken in the middle", width, broken)
		}
		if small := ask[float64](t, ctx, smallestText); small < 11 {
			t.Errorf("at %d pixels the letters of a chart are %v high", width, small)
		}
	}
	// Every incident is reached by tab and enter: the n-th link, then the n-th article is in view.
	for i, incident := range collected.Past.Incidents {
		do(t, ctx, chromedp.Navigate("file://"+path))
		for range i + 1 {
			do(t, ctx, chromedp.KeyEvent(kb.Tab))
		}
		do(t, ctx, chromedp.KeyEvent(kb.Enter))
		if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`location.hash !== ""`)); err != nil {
			t.Fatal(err)
		}
		hash, top := ask[string](t, ctx, `location.hash`), ask[float64](t, ctx, `document.querySelector(location.hash).getBoundingClientRect().top`)
		if hash != "#i"+incident.ID || top < -1 || top > 900 {
			t.Errorf("%d tabs and enter lead to %s with its top at %v, expected #i%s in view", i+1, hash, top, incident.ID)
		}
	}
	pdf, err := chromedp.Run(ctx, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4)))
	if pages := bytes.Count(pdf, []byte("/Type /Page\n")); err != nil || !bytes.HasPrefix(pdf, []byte("%PDF-")) || pages < 2 {
		t.Errorf("printing gave %d bytes and %d pages, %v", len(pdf), pages, err)
	}
	c.check(t, path)
}

// The check itself finds what it is there to find.
func TestChromiumComplains(t *testing.T) {
	ctx := browser(t)
	path := t.TempDir() + "/bad.html"
	if err := os.WriteFile(path, []byte(`<script>console.error("no")</script><img src="http://127.0.0.1:9/x.png">`), 0o600); err != nil {
		t.Fatal(err)
	}
	var c complaints
	if err := chromedp.Listen(ctx, c.listen); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.Navigate("file://"+path))
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.said) == 0 || len(c.requests) < 2 {
		t.Errorf("said %q, requested %q", c.said, c.requests)
	}
}
