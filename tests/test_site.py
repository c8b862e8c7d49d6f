"""The check of a built site: what it must find, on a site of two pages."""

import accessible
import checked
import pytest

WHOLE = '<h1 id="top">Top</h1><a href="b.html#low">b</a><a href="#top">up</a><img src="x.png">'


@pytest.fixture
def site(tmp_path):
    (tmp_path / "a.html").write_text(WHOLE)
    (tmp_path / "b.html").write_text('<p id="low"><a href="https://example.org">away</a></p>')
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "s.css").write_text("a { background: url(x.png) }")
    return tmp_path


def test_a_whole_site_has_no_faults(site):
    assert checked.faults(site) == []


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("a.html", '<a href="c.html">c</a>', "c.html, which is not there"),
        ("a.html", '<a href="b.html#high">b</a>', "b.html#high, which has no such place"),
        ("a.html", '<a href="#nowhere">up</a>', "#nowhere, which has no such place"),
        ("a.html", '<img src="y.png">', "y.png, which is not there"),
        ("a.html", '<script src="https://cdn.example/m.js"></script>', "https://cdn.example/m.js"),
        ("a.html", '<link rel="stylesheet" href="//cdn.example/m.css">', "//cdn.example/m.css"),
        ("s.css", '@import "https://fonts.example/f.css";', "https://fonts.example/f.css"),
        ("s.css", "a { src: url('http://fonts.example/f') }", "http://fonts.example/f"),
    ],
)
def test_a_fault_is_found(site, file, text, fault):
    (site / file).write_text(text)
    assert [line for line in checked.faults(site) if line.endswith(fault)]


def test_what_scrolls_can_be_reached_and_signatures_hold_no_list():
    shown = accessible.accessible(
        '<pre>x</pre><div class="table-wrapper docutils"></div><dl><dt class="sig sig-object">f(<dl><dd>a</dd></dl>)</dt></dl>'
    )
    assert shown == (
        '<pre tabindex="0">x</pre><div tabindex="0" class="table-wrapper docutils"></div>'
        '<dl><dt class="sig sig-object">f(<span class="sig-lines"><span class="sig-line">a</span></span>)</dt></dl>'
    )
