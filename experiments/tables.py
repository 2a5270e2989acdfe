"""The tables, one module a paper and one for our own, and how they are named: "cut/table1" is Table 1 of CUT."""

from experiments import cluit, cut, photographs, starganv2, tunit, world
from experiments.rows import Paper, Row, Table
from uit_jax import settings
from uit_jax.errors import UserError

PAPERS: dict[str, Paper] = {
    "tunit": tunit.PAPER,
    "cut": cut.PAPER,
    "cluit": cluit.PAPER,
    "starganv2": starganv2.PAPER,
    "world": world.PAPER,
    "photographs": photographs.PAPER,
}
TABLES: dict[str, Table] = {
    f"{name}/{table}": rows for name, paper in PAPERS.items() for table, rows in paper.tables.items()
}


def table_names(text: str | None = None) -> list[str]:
    """Return the keys of TABLES that "cut", "cut/table1" or "cut/1" means; all of them for None. Raises UserError."""
    if text is None:
        return list(TABLES)
    paper, _, table = text.partition("/")
    wanted = f"{paper}/table{table}" if table.isdigit() else text
    found = [name for name in TABLES if wanted in (name, name.partition("/")[0])]
    if not found:
        raise UserError(f"there is no table {text!r}; there are: {', '.join(TABLES)}")
    return found


def table_name(text: str) -> str:
    """Return the one key of TABLES that "cut/table1", or "cut/1", means. Raises UserError."""
    found = table_names(text)
    if len(found) > 1:
        raise UserError(f"{text} is a paper; name one of its tables: {', '.join(found)}")
    return found[0]


def paper_of(table: str) -> Paper:
    """Return the paper of a key of TABLES."""
    return PAPERS[table.partition("/")[0]]


def find_row(table: str, name: str) -> Row:
    """Return a row of TABLES[table] by its name. Raises UserError, which names the nearest."""
    rows = {row.name: row for row in TABLES[table].rows}
    if name not in rows:
        raise UserError(f"{table} has no row {name!r}{settings.nearest(name, rows) or '; see --list'}")
    return rows[name]


def home(table: str, row: Row) -> tuple[str, Row]:
    """Return the table and the row under which the runs of TABLES[table]'s row are kept."""
    if not row.same_as:
        return table, row
    table, _, name = row.same_as.rpartition("/")
    return table, find_row(table, name)
