#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A judge by regular expression: 1 for a completion in which it is found, else 0.

    kedge ... --judge "python3 examples/judges/pattern.py '[.!?]$'"
"""

import json
import re
import sys

try:
    pattern = re.compile(sys.argv[1])
except (IndexError, re.error) as problem:
    sys.exit(f"pattern.py: give a regular expression ({problem})")
for line in sys.stdin.buffer:
    print(json.dumps({"score": float(pattern.search(json.loads(line)["completion"]) is not None)}), flush=True)
