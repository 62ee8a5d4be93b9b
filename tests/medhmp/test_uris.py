"""No URI with a credential in it is taken, and none is repeated."""

from dataclasses import replace

import pytest

from medhmp.command import parse
from medhmp.refusal import Refusal
from medhmp.run import Features, Notes, Run, Tables
from medhmp.uris import holds_credential

SECRET = "wJalr/XUt=nFEMI"
URI = f"s3://AKIAEXAMPLE:{SECRET}@bucket/run"


@pytest.mark.parametrize(
    "uri",
    [
        URI,
        "s3://AKIAEXAMPLE@bucket/run",
        "https://user:word@host/tables",
        f"s3://bucket/run?access_key=AKIAEXAMPLE&secret_key={SECRET}",
        "https://host/table.csv?X-Amz-Credential=AKIA&X-Amz-Signature=abc",
        "https://account.blob/c/f?sv=2022&sig=abc",
    ],
)
def test_a_credential_is_found(uri):
    assert holds_credential(uri)
    assert holds_credential(f"mimic3={uri}")


@pytest.mark.parametrize(
    "uri",
    [
        "runs/demo",
        "/data/who@where/a:b@c",
        "s3://bucket/run",
        "s3://bucket/who@where",
        "s3://bucket/k?scheme=http&endpoint_override=host:9000&region=us-east-1",
        "abfs://container@account.dfs.core.windows.net/run",
        "gs://bucket/keys=1/part",
    ],
)
def test_other_places_are_left_alone(uri):
    assert not holds_credential(uri)


@pytest.mark.parametrize(
    "run",
    [
        Run(out=URI),
        Run(tables=Tables(sources=(f"mimic3={URI}",))),
        Run(tables=Tables(sources=(URI,))),
        Run(tables=Tables(variables=URI)),
        Run(notes=Notes(model=URI)),
        replace(Run(), features=Features(frozen=URI)),
    ],
)
def test_a_run_with_one_is_refused_by_the_name_of_its_field(run):
    with pytest.raises(Refusal, match="has a URI with a credential in it") as refused:
        run.check()
    assert said_nothing(str(refused.value))


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ([URI], "the command line"),
        (["smoke", "--out", URI], "--out"),
        (["smoke", f"--out={URI}"], "--out"),
        (["smoke", "--otu", URI], "--otu"),  # what a complaint about the option would quote
        (["smoke", "--tables.sources", "mimic4=/a", URI], "--tables.sources"),
        (["smoke", "--model.width", URI], "--model.width"),
        (["smoke", f"--{URI}"], "the command line"),
    ],
)
def test_a_command_line_with_one_is_refused_before_anything_quotes_it(arguments, where):
    with pytest.raises(Refusal, match=f"^{where} has a URI with a credential") as refused:
        parse(arguments)
    assert said_nothing(str(refused.value))


def said_nothing(text: str) -> bool:
    return "AKIAEXAMPLE" not in text and "nFEMI" not in text
