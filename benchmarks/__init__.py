"""Speed and memory of `vis`, beside hand-written lower bounds: `python -m benchmarks [NAME ...] [--quick]`.

To add a benchmark, put a file into this folder with a function that yields rows::

    from benchmarks.harness import benchmark, compare

    @benchmark('name')
    def name(quick):
        '''What is measured, in one line.'''
        yield compare(ours, reference).row('case', limit=1.10)

`python -m benchmarks name` finds it by itself.
"""
