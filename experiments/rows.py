"""What a table of results is made of: papers, tables, rows, data sets and metrics, as data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from uit_jax import config as config_module
from uit_jax.evaluation import Evaluator


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set of a paper, which the reader has to provide unless it has a source.

    Attributes:
      title: its name in the paper.
      classes: the number of classes, one folder each below train/ and test/; 0 where there are none.
      names: the class folders, where they are known.
      pair: of a pair of domains, the training images in trainA and in trainB.
      images: of a set without classes, the training images.
      source: of images that everyone has, what `data.source` then is.
      note: how to come by it.
    """

    title: str
    classes: int = 0
    names: tuple[str, ...] = ()
    pair: tuple[int, int] = (0, 0)
    images: int = 0
    source: str = ""
    note: str = ""

    @property
    def paired(self) -> bool:
        """Whether these are two domains."""
        return self.pair != (0, 0)

    @property
    def layout(self) -> str:
        """What a folder has to hold."""
        if self.images:
            return "train and test"
        return "train/CLASS and test/CLASS" if self.classes else "trainA, trainB, testA and testB"


@dataclasses.dataclass(frozen=True)
class Relabel:
    """That k-means finds as many labels as the row's method has domains, in the place of the images' own.

    Attributes:
      by: "kmeans-pixels" or "kmeans-features", as `uit data label` has them.
      side: of images whose pixels are compared.
      run: "TABLE/ROW" whose run of the same seed has the features, its style codes; "" where they are to be named.
    """

    by: str
    side: int = 32
    run: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of one table on one data set.

    Attributes:
      name: what `experiments.run` calls it.
      data: the images it is about.
      paper: metric -> the published number; {} where there is none.
      recipe: the config file, perhaps with presets, as in "configs/tunit.py:b".
      overrides: settings on top of it.
      seeds: what a full result takes.
      notes: what a reader of the numbers has to know.
      absent: why the row cannot be run here; "" where it can.
      relabel: how the labels that it learns from are found; None for the images' own.
      same_as: "TABLE/ROW" whose runs, those of these seeds, are this row's too; "" where it has its own.
    """

    name: str
    data: DataSet
    paper: Mapping[str, float]
    recipe: str = ""
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    notes: tuple[str, ...] = ()
    absent: str = ""
    same_as: str = ""
    relabel: Relabel | None = None

    def config(self):
        """Return the row's resolved config; its data source is still to be named."""
        return config_module.update(config_module.resolve(self.recipe), self.overrides)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A column: its head in the paper, digits after the point, and the score and protocol of a result that are ours.

    Attributes:
      score, protocol: "" for a number that is not computed here.
      needs: what is to be named for it, a key of `scoring.NEEDS`; "" for nothing.
      absent: why it is not computed here; "" where it is.
    """

    head: str
    digits: int
    score: str = ""
    protocol: str = ""
    needs: str = ""
    absent: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under one title.

    Attributes:
      evaluators: what its runs are scored by beside the usual ones, as far as they can be, and as what the columns
        need that they fill is named.
      timed: whether the cost of their steps is measured, where a column is for that.
    """

    title: str
    rows: tuple[Row, ...]
    evaluators: tuple[Evaluator, ...] = ()
    timed: bool = True


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper's tables, or tables of our own.

    Attributes:
      title: what they are of.
      tables: their short names -> the tables.
      metrics: the columns, in their order.
      remark: what holds for all of the numbers.
      published: whether there are numbers of others to compare with.
    """

    title: str
    tables: Mapping[str, Table]
    metrics: Mapping[str, Metric]
    remark: str
    published: bool = True
