"""Packages of the wheel: ``medhmp``, and the checkout's ``jobs/`` as ``medhmp.jobs``.

Everything else about the distribution is in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["medhmp", "medhmp.*"]),
        "medhmp.report.templates",
        "medhmp.jobs",
    ],
    package_dir={"medhmp.jobs": "jobs"},
)
