from vecserve_server.engine.circuit import Circuit


def opened(failures: int = 3, at: float = 100.0) -> Circuit:
    circuit = Circuit(failures)
    assert [circuit.failed(at) for _ in range(failures)] == [False] * (failures - 1) + [True]
    return circuit


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    assert opened().is_open


def test_a_success_in_between_begins_the_count_anew() -> None:
    circuit = Circuit(3)
    for _ in range(10):
        circuit.failed(100.0)
        circuit.failed(100.0)
        assert not circuit.succeeded()

    assert not circuit.is_open


def test_the_first_trial_is_due_after_a_second() -> None:
    assert opened(at=100.0).retry_at == 101.0


def test_callers_are_told_to_come_back_after_the_trial_and_never_at_once() -> None:
    circuit = opened(at=100.0)
    circuit.failed(101.0)

    assert circuit.retry_after(101.5) == 1.5
    assert circuit.retry_after(103.5) == 1.0


def test_a_trial_that_fails_doubles_the_time_to_the_next_up_to_a_minute() -> None:
    circuit = opened(at=0.0)
    delays: list[float] = []
    for _ in range(8):
        now = circuit.retry_at or 0.0
        assert circuit.failed(now)
        delays.append((circuit.retry_at or 0.0) - now)

    assert delays == [2, 4, 8, 16, 32, 60, 60, 60]


def test_runs_that_had_begun_before_it_opened_change_nothing_when_they_fail() -> None:
    circuit = opened(at=100.0)

    assert not circuit.failed(100.5)
    assert circuit.retry_at == 101.0


def test_it_closes_at_the_first_success() -> None:
    circuit = opened()

    assert circuit.succeeded()
    assert not circuit.is_open
    assert not circuit.succeeded()


def test_a_model_that_fails_again_after_a_trial_stays_away_longer() -> None:
    circuit = opened(at=100.0)
    circuit.succeeded()

    for _ in range(3):
        circuit.failed(102.0)

    assert circuit.retry_at == 104.0


def test_a_model_that_has_worked_since_comes_back_as_soon_as_at_first() -> None:
    circuit = opened(at=100.0)
    circuit.succeeded()
    circuit.succeeded()

    for _ in range(3):
        circuit.failed(102.0)

    assert circuit.retry_at == 103.0
