"""What supervising workers consists of, without their processes."""

import asyncio
import multiprocessing
import socket
import sys
from contextlib import closing
from typing import cast

import pytest
from pydantic import ValidationError

from vecserve_server.config import ServerConfig
from vecserve_server.listening.errors import BindError
from vecserve_server.workers import supervisor as supervising
from vecserve_server.workers.backoff import Backoff
from vecserve_server.workers.messages import Order, receive
from vecserve_server.workers.port import reserved
from vecserve_server.workers.process import StartError, WorkerProcess, describe_end
from vecserve_server.workers.supervisor import Supervisor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are refused elsewhere")


class Clock:
    """Time that passes when it is told to, or slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestBackoff:
    def test_the_first_end_is_made_good_at_once(self, clock: Clock) -> None:
        backoff = Backoff(clock)
        backoff.serving()
        clock.now += 5
        assert backoff.ended() == 0

    def test_delays_double_to_half_a_minute_for_workers_that_never_serve(self, clock: Clock) -> None:
        backoff = Backoff(clock)
        assert [backoff.ended() for _ in range(9)] == [0, 1, 2, 4, 8, 16, 30, 30, 30]

    def test_delays_double_for_workers_that_serve_less_than_a_minute(self, clock: Clock) -> None:
        backoff = Backoff(clock)
        delays: list[float] = []
        for _ in range(4):
            backoff.serving()
            clock.now += 59.9
            delays.append(backoff.ended())
        assert delays == [0, 1, 2, 4]

    def test_a_minute_of_service_begins_it_anew(self, clock: Clock) -> None:
        backoff = Backoff(clock)
        for _ in range(5):
            backoff.ended()
        backoff.serving()
        clock.now += 60
        assert [backoff.ended() for _ in range(3)] == [0, 1, 2]

    def test_a_minute_of_starting_is_not_service(self, clock: Clock) -> None:
        backoff = Backoff(clock)
        for _ in range(3):
            clock.now += 100
            backoff.ended()
        clock.now += 100
        assert backoff.ended() == 4

    def test_it_goes_on_for_ever(self, clock: Clock) -> None:
        backoff = Backoff(clock)
        assert [backoff.ended() for _ in range(5000)][-1] == 30


def listen(address: str, *, reuse_port: bool) -> socket.socket:
    """A server's socket, with the options that gRPC sets."""
    host, _, port = address.rpartition(":")
    server = socket.socket()
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
        server.bind((host, int(port)))
        server.listen()
    except OSError:
        server.close()
        raise
    return server


class TestPort:
    def test_port_0_becomes_one_that_all_workers_can_listen_on(self) -> None:
        with reserved("127.0.0.1:0") as address:
            assert address.startswith("127.0.0.1:")
            assert not address.endswith(":0")
            with closing(listen(address, reuse_port=True)), closing(listen(address, reuse_port=True)):
                pass

    def test_a_port_keeps_its_number(self) -> None:
        with reserved("127.0.0.1:0") as address:
            pass
        with reserved(address) as again:
            assert again == address

    def test_connections_reach_the_workers_alone(self) -> None:
        with reserved("127.0.0.1:0") as address, closing(listen(address, reuse_port=True)) as worker:
            for _ in range(20):
                with socket.create_connection(worker.getsockname(), timeout=10):
                    worker.accept()[0].close()

    def test_connections_are_refused_while_no_worker_listens(self) -> None:
        with reserved("127.0.0.1:0") as address, pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10)

    @pytest.mark.parametrize("with_worker", [False, True])
    def test_another_server_is_refused(self, with_worker: bool) -> None:
        with reserved("127.0.0.1:0") as address:
            worker = listen(address, reuse_port=True) if with_worker else socket.socket()
            with closing(worker), pytest.raises(OSError, match="Address already in use"):
                listen(address, reuse_port=False)

    @pytest.mark.parametrize("with_worker", [False, True])
    def test_a_second_reservation_is_refused(self, with_worker: bool) -> None:
        with reserved("127.0.0.1:0") as address:
            worker = listen(address, reuse_port=True) if with_worker else socket.socket()
            refused = pytest.raises(BindError, match=f"can't listen on {address}: Address already in use")
            with closing(worker), refused, reserved(address):
                pass

    @pytest.mark.parametrize("reuse_port", [False, True])
    def test_the_port_of_another_server_is_refused(self, reuse_port: bool) -> None:
        with closing(listen("127.0.0.1:0", reuse_port=reuse_port)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            refused = pytest.raises(BindError, match=f"can't listen on {address}: Address already in use")
            with refused, reserved(address):
                pass

    def test_connections_that_a_server_before_closed_do_not_count(self) -> None:
        server = listen("127.0.0.1:0", reuse_port=False)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with closing(server), closing(socket.create_connection(server.getsockname())) as client:
            server.accept()[0].close()
            assert client.recv(1) == b""
        with reserved(address):
            pass

    @pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
    def test_everywhere_is_everywhere(self, host: str) -> None:
        with reserved(f"{host}:0") as address:
            assert address.startswith(f"{host}:")
            on_loopback = f"127.0.0.1:{address.rpartition(':')[2]}"
            with pytest.raises(OSError, match="Address already in use"):
                listen(on_loopback, reuse_port=False)

    def test_an_address_of_another_machine_is_refused(self) -> None:
        with pytest.raises(BindError, match="Cannot assign requested address"), reserved("192.0.2.1:0"):
            pass

    def test_a_name_that_is_not_known_is_refused(self) -> None:
        with pytest.raises(BindError, match=r"can't listen on nowhere\.invalid:1: "), reserved("nowhere.invalid:1"):
            pass


class TestSettings:
    def test_workers_share_the_cores(self) -> None:
        settings = ServerConfig.from_command_line(["--workers", "3"]).engine_settings(8)
        assert (settings.instances, settings.preprocessing_threads) == (2, 2)

    def test_each_has_at_least_one_instance(self) -> None:
        assert ServerConfig.from_command_line(["--workers", "3"]).engine_settings(2).instances == 1

    def test_instances_are_set_for_each(self) -> None:
        assert ServerConfig.from_command_line(["--workers", "2", "--instances", "5"]).engine_settings(4).instances == 5

    def test_there_is_one_except_on_linux(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert ServerConfig.from_command_line(["--workers", "1"]).workers == 1
        with pytest.raises(ValidationError, match="only Linux"):
            ServerConfig.from_command_line(["--workers", "2"])

    def test_a_worker_has_all_settings_but_the_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VECSERVE_GRACE_SECONDS", "3")
        config = ServerConfig.from_command_line(["--workers", "2", "--max-batch-items", "7", "--address", "[::1]:0"])
        changed = {**dict(config), "address": "[::1]:5"}
        assert dict(config.of_worker(1, "[::1]:5")) == changed

    async def test_settings_reach_a_worker_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VECSERVE_GRACE_SECONDS", "3")
        config = ServerConfig.from_command_line(["--workers", "2", "--models", "here"])
        monkeypatch.setenv("VECSERVE_GRACE_SECONDS", "4")
        ours, theirs = multiprocessing.Pipe()
        with ours, theirs:
            ours.send(config)
            assert await receive(theirs) == config
            ours.close()
            assert await receive(theirs) is None

    def test_metrics_of_workers_are_on_successive_ports(self) -> None:
        config = ServerConfig.from_command_line(["--workers", "2", "--metrics-address", "[::]:9000"])
        assert [config.of_worker(number, "[::]:1").metrics_address for number in (0, 1)] == ["[::]:9000", "[::]:9001"]

    def test_metrics_of_workers_may_have_any_free_port(self) -> None:
        config = ServerConfig.from_command_line(["--workers", "2", "--metrics-address", "[::]:0"])
        assert config.of_worker(1, "[::]:1").metrics_address == "[::]:0"


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "ended with status 0"), (-9, "was killed by SIGKILL"), (-40, "was killed by signal 40")],
)
def test_an_end_is_told_in_words(status: int, words: str) -> None:
    assert describe_end(status) == words


class FakeWorker:
    """A worker process that does what a test says. One that is told to end does."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.life: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.orders: list[Order] = []
        self.heeds = set(Order)

    def serve(self) -> None:
        self.started.set_result("model@1")

    def end(self, status: int, message: str = "it broke") -> None:
        if not self.started.done():
            self.started.set_exception(StartError(message))
        self.life.set_result(status)

    async def serving(self) -> str:
        return await asyncio.shield(self.started)

    async def ended(self) -> int:
        return await asyncio.shield(self.life)

    def order(self, order: Order) -> None:
        self.orders.append(order)
        if order in self.heeds and not self.life.done():
            self.end(0)

    def kill(self) -> None:
        if not self.life.done():
            self.end(-9)


class Service:
    """A supervisor of two workers that don't exist, on a simulated clock."""

    def __init__(self, clock: Clock) -> None:
        self.workers: list[FakeWorker] = []
        self.refuses = False
        config = ServerConfig.from_command_line(["--workers", "2", "--address", "127.0.0.1:0"])
        start = cast("type[WorkerProcess]", self._start)
        self.supervisor = Supervisor(config, start=start, clock=clock, sleep=clock.sleep)
        self.life = asyncio.create_task(self.supervisor.run())

    def _start(self, config: ServerConfig) -> FakeWorker:
        if self.refuses:
            raise OSError(11, "Resource temporarily unavailable")
        self.workers.append(FakeWorker(len(self.workers)))
        return self.workers[-1]

    async def started(self, count: int) -> list[FakeWorker]:
        """All workers so far, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.workers) < count:
                await asyncio.sleep(0)
        return self.workers


@pytest.fixture
async def service(clock: Clock) -> Service:
    return Service(clock)


class TestSupervisor:
    async def test_it_is_ready_when_all_workers_serve(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        first, second = await service.started(2)
        first.serve()
        await asyncio.sleep(0.01)
        assert "ready" not in caplog.text
        second.serve()
        await asyncio.sleep(0.01)
        assert "with model@1, pid " in caplog.text
        service.supervisor.request_stop()
        await service.life

    async def test_one_that_ends_is_replaced_ever_later_and_the_other_stays(
        self, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        for worker in await service.started(2):
            worker.serve()
        service.workers[0].end(-9)
        for count in range(3, 9):
            (await service.started(count))[-1].end(1)
        await service.started(9)
        assert clock.slept == [0, 1, 2, 4, 8, 16, 30]
        assert service.workers[1].orders == []
        assert "worker 0 was killed by SIGKILL" in caplog.text
        assert "worker 3 can't start: it broke" in caplog.text
        assert "worker 3 ended with status 1" in caplog.text
        service.supervisor.request_stop()
        await service.life

    async def test_no_room_for_a_process_is_waited_out(self, service: Service, clock: Clock) -> None:
        for worker in await service.started(2):
            worker.serve()
        service.refuses = True
        service.workers[0].end(-9)
        async with asyncio.timeout(10):
            while len(clock.slept) < 4:
                await asyncio.sleep(0)
        service.refuses = False
        await service.started(3)
        service.supervisor.request_stop()
        await service.life

    async def test_one_that_cannot_start_at_first_ends_the_rest(self, service: Service, clock: Clock) -> None:
        first, second = await service.started(2)
        first.serve()
        second.end(1, "model directory 'models' is empty")
        with pytest.raises(StartError, match="model directory 'models' is empty"):
            await service.life
        assert first.orders == [Order.END]
        assert len(service.workers) == 2
        assert clock.slept == []

    async def test_stopped_while_starting_it_ends_all(self, service: Service) -> None:
        await service.started(2)
        service.supervisor.request_stop()
        await service.life
        assert [worker.orders for worker in service.workers] == [[Order.DRAIN, Order.END]] * 2

    async def test_a_second_request_ends_those_that_drain(self, service: Service) -> None:
        for worker in await service.started(2):
            worker.serve()
            worker.heeds = {Order.END}
        service.supervisor.request_stop()
        await asyncio.sleep(0.01)
        assert not service.life.done()
        service.supervisor.request_stop()
        await service.life
        assert [worker.orders for worker in service.workers] == [[Order.DRAIN, Order.END]] * 2

    async def test_one_that_heeds_nothing_is_killed(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(supervising, "_ENDING_SECONDS", 0.01)
        first, second = await service.started(2)
        for worker in (first, second):
            worker.serve()
        second.heeds = set()
        service.supervisor.request_stop()
        await asyncio.sleep(0.01)
        service.supervisor.request_stop()
        await service.life
        assert (await first.ended(), await second.ended()) == (0, -9)

    async def test_one_that_ends_while_all_drain_is_not_replaced(self, service: Service) -> None:
        for worker in await service.started(2):
            worker.serve()
            worker.heeds = set()
        service.supervisor.request_stop()
        await asyncio.sleep(0.01)
        for worker in service.workers:
            worker.end(1)
        await service.life
        assert len(service.workers) == 2
