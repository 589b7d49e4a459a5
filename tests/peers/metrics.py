"""Reads a page of figures as Prometheus does, and says what is on it: metrics.py URL CA-FILE"""

import json
import ssl
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

url, ca = sys.argv[1:]
with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=ca)) as page:
    text = page.read().decode("ascii")
found = {}
for family in text_string_to_metric_families(text):
    samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
    assert family.name not in found, family.name
    assert family.documentation, family.name
    found[family.name] = {"type": family.type, "samples": samples}
print(json.dumps(found))
