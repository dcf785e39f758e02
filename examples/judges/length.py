#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A judge by length: 1 for a completion of exactly so many words, 0 for one off by as many or more, linear between.

    kedge ... --judge 'python3 examples/judges/length.py 20'
"""

import json
import sys

wanted = int(sys.argv[1]) if len(sys.argv) == 2 and sys.argv[1].isdigit() else 0
if wanted == 0:
    sys.exit("length.py: give the number of words, 1 or more")
for line in sys.stdin.buffer:
    words = len(json.loads(line)["completion"].split())
    print(json.dumps({"score": max(0.0, 1 - abs(words - wanted) / wanted)}), flush=True)
