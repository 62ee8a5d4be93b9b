"""URIs of a run: none may hold a credential, since they are printed, recorded and seen."""

import re
from collections.abc import Iterable
from typing import Final

from medhmp.refusal import Refusal

# KEY:SECRET@ before the bucket, where a secret may have slashes; any user at all of s3.
_USER: Final = re.compile(r"://[^/@\s]*:[^@\s]*@|\bs3a?://[^/@\s]*@", re.IGNORECASE)
_OPTION: Final = re.compile(
    r"://\S*[?&][^=&\s]*(key|secret|token|passw|pwd|credential|signature|\bsig\b)[^=&\s]*=",
    re.IGNORECASE,
)


def holds_credential(text: str) -> bool:
    """True if a URI in the text has a user and password, or a query option that is a secret."""
    return bool(_USER.search(text) or _OPTION.search(text))


def refuse_credential(where: str, text: str) -> None:
    """Refuses a URI with a credential in it, by the name of where it was given and nothing else."""
    if holds_credential(text):
        raise Refusal(
            f"{where} has a URI with a credential in it; give it without, and the credential where "
            "the AWS tools look: the environment, a profile, the role of the machine"
        )


def refuse_credentials(arguments: Iterable[str]) -> None:
    """The same for a command line, before anything that quotes an argument reads it."""
    where = "the command line"
    for argument in arguments:
        if argument.startswith("--"):
            option = re.match(r"--[\w.-]+(?==|$)", argument)
            where = option[0] if option else "the command line"
        refuse_credential(where, argument)
