import math

import numpy as np
import pytest

from vecserve_loadtest import bucket_percentile, merge_buckets
from vecserve_loadtest.progress import latency_buckets


def test_percentiles_from_buckets_are_within_two_and_a_half_percent() -> None:
    latencies = np.random.default_rng(0).lognormal(-5, 1, 10_001)

    buckets = merge_buckets([latency_buckets(latencies[:3000]), latency_buckets(latencies[3000:])])

    assert sum(buckets.values()) == 10_001
    for point in (1, 50, 99, 99.9, 100):
        exact = np.percentile(latencies, point, method="inverted_cdf")
        assert bucket_percentile(buckets, point) == pytest.approx(exact, rel=0.0251)


def test_latencies_of_nothing_and_without_calls_have_a_bucket_and_none() -> None:
    assert latency_buckets(np.array([0.0])) == {0: 1}
    assert math.isnan(bucket_percentile({}, 99))
