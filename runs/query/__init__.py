"""From a query string to runs: the one engine behind the list, the API, exports and the workspace.

::

    grammar.py    text -> conditions and keys; no database
    fields.py     one key of the query string, checked
    question.py   RunQuery: the form, and what can be asked of it
    filters.py, conditions.py   conditions -> a filter
    sorting.py    an order -> stretches of runs
    paging.py     stretches and a cursor -> the ids of a page
    rows.py, columns.py         ids -> rows with their cells
    chips.py      conditions -> sentences
"""

from runs.query.chips import Chip
from runs.query.columns import Column
from runs.query.grammar import Unclear
from runs.query.limits import TooLarge
from runs.query.question import RunPage, RunQuery

__all__ = ["Chip", "Column", "RunPage", "RunQuery", "TooLarge", "Unclear"]
