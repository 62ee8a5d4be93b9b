"""Codes of admissions under a fit of their own, and under one that has seen ICD-9 alone."""

import random
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from medhmp import icd
from medhmp.features import codes
from medhmp.features.codes import LACKING, LOST, NO_EQUIVALENT, READ_AS_ICD9
from medhmp.run import Features
from medhmp.shards.build.codes import code_admissions
from medhmp.shards.build.index import Index
from medhmp.shards.featurizer import Featurizer
from medhmp.tables.readings import conformed, no_notes
from medhmp.tables.schema import ADMISSIONS, CODES, PATIENTS, STAYS, Source

TABLE = icd.alternatives()
UNMAPPED = ("U071", "I4811", "O09A0")  # newer than the mappings
SETTINGS = ("to_icd9", "joint")


def source(name, diagnoses, drugs=()):
    """A source of these diagnoses ("9:4280") by admission; each admission is a patient."""
    rows = [(hadm, hadm, "diagnosis", code) for hadm, of in diagnoses.items() for code in of]
    rows += [(hadm, hadm, "drug", drug) for hadm in diagnoses for drug in drugs]
    nothing = pl.DataFrame({"subject_id": []})
    return Source(
        name=name,
        patients=conformed(nothing, PATIENTS),
        admissions=conformed(nothing, ADMISSIONS),
        stays=conformed(nothing, STAYS),
        codes=pl.DataFrame(rows, schema=CODES.names, orient="row"),
        streams={},
        notes=no_notes,
        onsets=lambda: nothing,
        counts={},
    )


def coded(of, features, frozen=None, split="train"):
    hadms = of.codes["hadm_id"].unique().sort()
    admissions = pl.DataFrame({"source": of.name, "hadm_id": hadms, "split": split})
    index = Index(admissions, admissions, admissions, 1, {})
    return code_admissions([of], index, features, frozen)


def featurizer(fit):
    fitted = fit.fitted
    return Featurizer((), None, fitted.vocabularies, fitted.icd9_of, fitted.icd9_seen)


class Hospital:
    """MIMIC-III's codes, by a seed, and later admissions with codes that mean some of these."""

    def __init__(self, seed, known=120):
        self.draw = random.Random(seed)
        tens = self.draw.sample(TABLE["code"].unique().sort().to_list(), known)
        self.tens = {code: self.parts(code) for code in tens}
        nine = [candidate for of in self.tens.values() for part in of for candidate in part]
        weights = [self.draw.random() ** 3 for _ in nine]
        fill = lambda: self.draw.choices(nine, weights, k=9)  # noqa: E731
        self.before = {hadm: sorted(set(fill())) for hadm in range(1, 200)}
        left = sorted(set(nine).difference(*self.before.values()))
        self.before |= {200: left} if left else {}
        self.often = Counter(code for of in self.before.values() for code in of)
        pool = [*self.tens, *(f"10:{code}" for code in UNMAPPED)]
        self.after = {hadm: sorted(set(self.draw.choices(pool, k=9))) for hadm in range(300, 400)}

    def parts(self, code):
        """The candidates of each choice, in the order of the mappings."""
        rows = TABLE.filter(pl.col("code") == code)
        return [of["icd9"].to_list() for of in rows.partition_by("choice", maintain_order=True)]

    def meaning(self, code):
        """The slow way: of each choice the code that most admissions have, else the first."""
        return {
            max(part, key=lambda nine: (self.often[nine], -part.index(nine)))
            for part in self.tens.get(code, ())
        }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("setting", SETTINGS)
def test_icd10_keeps_its_meaning_under_a_fit_that_never_saw_any(seed, setting):
    hospital, features = Hospital(seed), Features(icd=setting)
    fit = coded(source("mimic3", hospital.before), features)
    assert fit.fitted.icd9_of == {}
    assert fit.fitted.icd9_seen == hospital.often
    later = coded(source("mimic4", hospital.after), features, featurizer(fit), "test")
    names = later.fitted.vocabularies["diagnosis"].codes
    assert names == fit.fitted.vocabularies["diagnosis"].codes
    mappable = kept = 0
    for hadm, ids in later.admissions.select("hadm_id", "icd_ids").iter_rows():
        expected = set().union(*(hospital.meaning(code) for code in hospital.after[hadm]))
        assert {names[place] for place in ids} == expected
        own = [hospital.meaning(code) for code in hospital.after[hadm]]
        mappable += sum(map(bool, own))
        kept += sum(bool(of) and of <= {names[place] for place in ids} for of in own)
    assert kept >= 0.95 * mappable > 500
    every = [code for of in hospital.after.values() for code in of]
    alone = sum(code[3:] in UNMAPPED for code in every)
    counts = later.counts["mimic4"]
    assert counts[NO_EQUIVALENT] == alone > 0
    assert counts.get(READ_AS_ICD9) == (len(every) - alone if setting == "joint" else None)
    assert (counts[LACKING["diagnosis"]], counts[LOST]) == (alone, 0)


def test_the_fit_s_own_choices_are_kept_and_others_made_by_what_it_saw():
    before = {1: ["9:4011", "10:I10"], 2: ["9:4011"], 3: ["9:4019", "9:496"], 4: ["9:4019"]}
    before |= {5: ["9:4019"]}
    features = Features(icd="to_icd9")
    fit = coded(source("a", before), features)
    assert fit.fitted.icd9_of == {"10:I10": ["9:4019"]}
    assert fit.fitted.icd9_seen == {"9:4011": 2, "9:4019": 3, "9:496": 1}
    chosen = replace(featurizer(fit), icd9_of={"10:I10": ["9:4011"]})
    later = coded(source("b", {9: ["10:I10", "10:J449"]}), features, chosen)
    assert later.fitted.icd9_of == {"10:I10": ["9:4011"], "10:J449": ["9:496"]}


def test_shards_that_do_not_tell_how_often_prefer_what_has_an_id():
    fit = coded(source("a", {1: ["9:4019"]}), Features())
    older = replace(featurizer(fit), icd9_seen={})
    later = coded(source("b", {2: ["10:I10"]}), Features(), older)
    assert later.admissions["icd_ids"].to_list() == [[0]]


def test_a_fit_on_itself_is_the_same():
    hospital = Hospital(9)
    both = hospital.before | hospital.after
    for setting in SETTINGS:
        features = Features(icd=setting)
        fit = coded(source("a", both), features)
        again = coded(source("a", both), features, featurizer(fit))
        assert again.fitted == fit.fitted
        assert again.admissions.equals(fit.admissions)
        assert READ_AS_ICD9 not in again.counts["a"]


def test_rows_do_not_depend_on_the_other_rows():
    """A frozen mapping is one of codes, whatever else the data have."""
    hospital = Hospital(3)
    frozen = featurizer(coded(source("a", hospital.before), Features()))
    whole = coded(source("b", hospital.after), Features(), frozen)
    some = dict(list(hospital.after.items())[::3]) | {900: ["9:0389", "9:4280"]}
    part = coded(source("b", some), Features(), frozen)
    joined = part.admissions.join(whole.admissions, on="hadm_id")
    assert joined.height > 30
    assert joined["icd_ids"].equals(joined["icd_ids_right"], check_names=False)


def test_what_a_fit_of_both_versions_lacks_is_counted():
    fit = coded(source("a", {1: ["9:4019", "10:I10"]}, ["aspirin"]), Features())
    data = {2: ["10:I10", "10:J449"], 3: ["10:J449"], 4: ["9:4019"]}
    later = coded(source("b", data, ["aspirin", "other"]), Features(), featurizer(fit))
    counts = later.counts["b"]
    assert (counts[LACKING["diagnosis"]], counts[LACKING["drug"]], counts[LOST]) == (2, 3, 1)
    assert READ_AS_ICD9 not in counts
    assert later.fitted.icd9_of == {}


def test_a_vocabulary_of_icd10_alone_loses_icd9_and_says_so():
    fit = coded(source("a", {1: ["10:I10"]}), Features())
    later = coded(source("b", {2: ["9:4019"], 3: ["10:I10"]}), Features(), featurizer(fit))
    assert later.counts["b"][LOST] == 1


def test_unknown_codes_are_counted_and_kept():
    later = coded(source("a", {1: ["9:389", "9:99999", "10:Z9999", "9:4280"]}), Features())
    assert later.counts["a"][codes.NO_TREE] == 1
    assert len(later.fitted.vocabularies["diagnosis"]) == 4
