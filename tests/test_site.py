"""The check of a built site: what it must find, on a site of two pages."""

import accessible
import checked
import indices
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


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("<p>λ_min(K_t) ≥ 1</p>", "<p>λ<sub>min</sub>(K<sub>t</sub>) ≥ 1</p>"),
        ("<b>n_(L−2) n_(L-1)</b>", "<b>n<sub>L−2</sub> n<sub>L−1</sub></b>"),
        ("‖W‖_F², ‖f‖_Lip, K^∞_ii, D_Lφ′", "‖W‖<sub>F</sub>², ‖f‖<sub>Lip</sub>, "
         "K<sup>∞</sup><sub>ii</sub>, D<sub>L</sub>φ′"),
        ("(−1)^((r−2)/2) x", "(−1)<sup>((r−2)/2)</sup> x"),
        ("d^{-3}, 3.2e+02 to -1e-6", "d<sup>−3</sup>, 3.2·10² to −10⁻⁶"),
        ("min_i a_i &lt; max_(r&gt;1) c_r", "min<sub>i</sub> a<sub>i</sub> &lt; "
         "max<sub>r&gt;1</sub> c<sub>r</sub>"),
        ('<h2>λ_min<a href="#lambda_min" title="λ_min">#</a></h2>',
         '<h2>λ<sub>min</sub><a href="#lambda_min" title="λ_min">#</a></h2>'),
        *((same, same) for same in (
            "lambda_min and own_theorem.py", "NTKSCOPE_PLUGINS", "<code>λ_min</code>",
            "<pre>x_i <span>y_j</span></pre>", '<dt class="sig sig-object"><span>n_x</span></dt>',
            "<math><mi>a_b</mi></math>", "<script>a_b</script>", "<option>λ_min</option>",
        )),
    ],
)  # fmt: skip
def test_running_text_has_real_indices_and_code_none(typed, shown):
    assert indices.indexed(typed) == shown


def test_the_index_of_names_stays_as_it_is():
    context = {"body": "<p>n_l</p>", "toc": "λ_min", "next": {"title": "λ_max", "link": "a_b.html"}}
    indices._page(None, "genindex", "", listing := dict(context), None)
    assert listing == context
    indices._page(None, "page", "", context, object())
    assert context == {
        "body": "<p>n<sub>l</sub></p>", "toc": "λ<sub>min</sub>",
        "next": {"title": "λ<sub>max</sub>", "link": "a_b.html"},
    }  # fmt: skip
