"""The page on tables promises a script of at most ten lines."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "own_data.md"


def test_own_data_trains_a_prior_in_ten_lines():
    section = PAGE.read_text().split("## A table as a prior")[1]
    script = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    lines = [line for line in script.splitlines() if line.strip()]
    assert len(lines) <= 10
    assert 'data.load("people.csv")' in script
    assert "MCMC" in script
