import hyperframe.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecserve_wire import frames
from vecserve_wire.frames import Frame, FrameReader, ProtocolError

any_frame = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary(max_size=100))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(st.lists(any_frame), st.lists(st.integers(0, 2**16)))
@settings(deadline=None)
def test_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(sent: list[Frame], places: list[int]) -> None:
    reader = FrameReader()
    data = b"".join(frames.frame(*each) for each in sent)

    assert [each for piece in cut(data, places) for each in reader.feed(piece)] == sent


@given(st.lists(st.integers(0, 30)))
@settings(deadline=None)
def test_a_frame_beyond_the_bound_is_refused_wherever_the_stream_is_cut(places: list[int]) -> None:
    reader = FrameReader(max_frame_size=10)
    data = frames.frame(frames.DATA, 0, 1, bytes(10)) + frames.frame(frames.DATA, 0, 1, bytes(11))
    seen: list[Frame] = []

    def feed() -> None:
        for piece in cut(data, places):
            seen.extend(reader.feed(piece))

    with pytest.raises(ProtocolError, match="11 bytes, where at most 10"):
        feed()
    assert len(seen) == 1


def parsed(data: bytes) -> hyperframe.frame.Frame:
    frame, length = hyperframe.frame.Frame.parse_frame_header(memoryview(data[:9]))
    assert length == len(data) - 9
    frame.parse_body(memoryview(data[9:]))
    return frame


def test_what_is_sent_reads_as_another_implementation_reads_it() -> None:
    settings = parsed(frames.settings({frames.HEADER_TABLE_SIZE: 0, frames.INITIAL_WINDOW_SIZE: frames.MAX_WINDOW}))
    update = parsed(frames.window_update(7, 1234))
    reset = parsed(frames.rst_stream(9, 8))
    data = parsed(frames.frame_head(frames.DATA, frames.END_STREAM, 3) + frames.pack_stream_id(11) + b"abc")

    assert isinstance(settings, hyperframe.frame.SettingsFrame)
    assert settings.settings == {1: 0, 4: 2**31 - 1}
    assert isinstance(update, hyperframe.frame.WindowUpdateFrame)
    assert (update.stream_id, update.window_increment) == (7, 1234)
    assert isinstance(reset, hyperframe.frame.RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (9, 8)
    assert isinstance(data, hyperframe.frame.DataFrame)
    assert (data.stream_id, data.data, data.flags) == (11, b"abc", {"END_STREAM"})


@given(st.binary(max_size=50), st.integers(0, 255))
@settings(deadline=None)
def test_padding_and_priority_are_taken_off(payload: bytes, padding: int) -> None:
    data = hyperframe.frame.DataFrame(1, payload, pad_length=padding, flags=["PADDED"])
    headers = hyperframe.frame.HeadersFrame(1, payload, flags=["PADDED", "PRIORITY"], pad_length=padding, depends_on=3)

    for sent in (data, headers):
        [(kind, flags, _, body)] = FrameReader().feed(sent.serialize())
        assert frames.content(kind, flags, body) == payload


@pytest.mark.parametrize("payload", [b"", b"\x03ab"])
def test_padding_longer_than_its_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="padding"):
        frames.content(frames.DATA, frames.PADDED, payload)


def test_payloads_too_short_for_their_kind_are_refused() -> None:
    with pytest.raises(ProtocolError, match="3 bytes, where 4 are needed"):
        frames.read_uint32(b"abc")
    with pytest.raises(ProtocolError, match="SETTINGS of 7 bytes"):
        frames.read_settings(bytes(7))
