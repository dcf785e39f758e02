#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A judge by sentiment: VADER's compound score of the completion, between -1 and 1.

    kedge ... --judge 'python3 examples/judges/vader.py'

VADER (Hutto and Gilbert, ICWSM 2014) adds up the valences of the words it knows, with rules for negation, degree, capitals and
punctuation. `./dev fetch vader` puts vaderSentiment 3.3.2 into .deps; an installed one does as well.
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / ".deps" / "vader"))
try:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
except ImportError:
    sys.exit("vader.py: vaderSentiment is missing; run ./dev fetch vader, or pip install vaderSentiment==3.3.2")

vader = SentimentIntensityAnalyzer()
for line in sys.stdin.buffer:
    print(json.dumps({"score": vader.polarity_scores(json.loads(line)["completion"])["compound"]}), flush=True)
