from setuptools import setup

setup(name="wine-tools", version="0.3", py_modules=["main"])
