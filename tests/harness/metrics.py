"""Prometheus' text format, read strictly, and the metrics of a Tarn."""

import re

from harness.rest import Rest

LINE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def parse(text):
    """Prometheus' text format, read strictly: {family: (type, {(name, labels): value})}."""
    families, family = {}, None
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in families, f"{family} comes twice"
            families[family] = [None, {}]
            assert len(line.split(" ", 3)[3]) > 3
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and families[family][0] is None and kind in ("counter", "gauge", "histogram", "summary")
            families[family][0] = kind
        else:
            name, labels, value = LINE.match(line).groups()
            pairs = LABEL.findall(labels or "")
            assert ",".join(f'{k}="{v}"' for k, v in pairs) == (labels or ""), line
            kind, samples = families[family]
            parts = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}.get(kind, ())
            assert name in [family + part for part in parts] if parts else name == family, line
            key = (name, tuple(sorted(pairs)))
            assert key not in samples, f"{line} comes twice"
            samples[key] = float(value)
    for name, (kind, samples) in families.items():
        assert kind, name
        assert name.removesuffix("_total") == name or name.removesuffix("_total") not in families, name
        assert kind != "counter" or name.endswith("_total") or not name.startswith("tarn_"), name
        if kind == "histogram":
            check_histogram(name, samples)
    return families


def check_histogram(name, samples):
    series = {}
    for (sample, labels), value in samples.items():
        if sample == f"{name}_bucket":
            plain = tuple(pair for pair in labels if pair[0] != "le")
            series.setdefault(plain, []).append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
    for plain, buckets in series.items():
        counts = [count for _, count in sorted(buckets)]
        assert counts == sorted(counts) and sorted(buckets)[-1][0] == float("inf")
        assert samples[(f"{name}_count", plain)] == counts[-1]
        assert (f"{name}_sum", plain) in samples


def scrape(platform, token=None, headers=None):
    answer = Rest(platform.host, token).ask("GET", "/metrics", headers=headers)
    assert answer.status == 200, answer.raw
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.raw.decode())


def value(families, name, **labels):
    for (sample, pairs), number in families[name.removesuffix("_count").removesuffix("_sum")][1].items():
        if sample == name and labels.items() <= dict(pairs).items():
            return number
    return 0
