//! Frames that are read from a channel and written to it.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

use super::BorrowedFormats;
use crate::ffi;

/// A frame that was read; freed when dropped.
pub(crate) struct Frame(pub(super) NonNull<ffi::ast_frame>);

/// What a frame is to a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Audio in the borrowed format.
    Voice(&'a [u8]),
    /// Audio that is there only by its length: lost, or in a format that was not asked for.
    Blank,
    /// A key was pressed and let go.
    Digit(char),
    /// The other side asks to switch to fax.
    T38Request,
    /// The phone has put the call on hold (true) or taken it back.
    Hold(bool),
    /// What comes next is another stream.
    NewSource,
    /// Nothing that matters here.
    Nothing,
}

impl Frame {
    /// What it is, seen by a channel that reads `formats`.
    ///
    /// # Realtime
    /// No allocation, no lock.
    pub(crate) fn content(&self, formats: &BorrowedFormats<'_>) -> Content<'_> {
        // SAFETY: the frame is ours until it is dropped.
        let frame = unsafe { self.0.as_ref() };
        match frame.frametype {
            ffi::AST_FRAME_VOICE => self.voice(frame, formats),
            ffi::AST_FRAME_DTMF_END => {
                let key = u8::try_from(frame.subclass.integer).map(char::from);
                key.map_or(Content::Nothing, |key| Content::Digit(key.to_ascii_uppercase()))
            }
            ffi::AST_FRAME_CONTROL => match u32::try_from(frame.subclass.integer) {
                Ok(ffi::AST_CONTROL_T38_PARAMETERS) => Content::T38Request,
                Ok(ffi::AST_CONTROL_HOLD) => Content::Hold(true),
                Ok(ffi::AST_CONTROL_UNHOLD) => Content::Hold(false),
                Ok(ffi::AST_CONTROL_SRCCHANGE) => Content::NewSource,
                _ => Content::Nothing,
            },
            _ => Content::Nothing,
        }
    }

    /// What it controls, if it is a control frame: `AST_CONTROL_*`.
    pub(crate) fn control(&self) -> Option<u32> {
        // SAFETY: the frame is ours until it is dropped.
        let frame = unsafe { self.0.as_ref() };
        if frame.frametype == ffi::AST_FRAME_CONTROL { u32::try_from(frame.subclass.integer).ok() } else { None }
    }

    /// Its number in the RTP stream, if it comes from one.
    pub(crate) fn number(&self) -> Option<u16> {
        // SAFETY: the frame is ours until it is dropped.
        let frame = unsafe { self.0.as_ref() };
        // A translated frame keeps number and timing, but of the two flags only this one.
        let numbered = ffi::AST_FRFLAG_HAS_TIMING_INFO | ffi::AST_FRFLAG_HAS_SEQUENCE_NUMBER;
        // The driver counts the stream's 16 bits on.
        (frame.flags & numbered != 0).then_some(frame.seqno as u16)
    }

    fn voice<'a>(&'a self, frame: &'a ffi::ast_frame, formats: &BorrowedFormats<'_>) -> Content<'a> {
        // SAFETY: a voice frame carries a format, and `data` of a frame with a length is a pointer.
        unsafe {
            let data = frame.data.ptr.cast::<u8>();
            let format = frame.subclass.__bindgen_anon_1.format;
            let as_asked =
                !format.is_null() && ffi::ast_format_cmp(format, formats.ours.as_ptr()) == ffi::AST_FORMAT_CMP_EQUAL;
            match usize::try_from(frame.datalen) {
                Ok(length) if length > 0 && !data.is_null() && as_asked => {
                    Content::Voice(slice::from_raw_parts(data, length))
                }
                _ => Content::Blank,
            }
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: the frame came from `ast_read`, and this is its only owner.
        unsafe { ffi::ast_frame_free(self.0.as_ptr(), 1) };
    }
}

/// Room that drivers may write headers into, before the audio. [bytes]
const HEADROOM: usize = ffi::AST_FRIENDLY_OFFSET as usize;
/// The largest frame: 20 ms of slin at 192 kHz. [bytes]
const LARGEST: usize = 192 * 20 * 2;

/// Memory for a frame to be written, aligned for samples of any encoding.
#[repr(C, align(16))]
pub(crate) struct FrameBuffer([u8; HEADROOM + LARGEST]);

impl FrameBuffer {
    /// A buffer on the heap: a channel thread's stack is small.
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self([0; HEADROOM + LARGEST]))
    }

    /// The audio part, `bytes` long.
    pub(crate) fn audio(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.0[HEADROOM..HEADROOM + bytes]
    }

    /// Where the audio begins, for those who may also write into the room before it.
    fn audio_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().wrapping_add(HEADROOM)
    }
}

/// A frame to be written.
pub(crate) struct OutFrame<'a> {
    pub(super) raw: ffi::ast_frame,
    _buffer: PhantomData<&'a mut FrameBuffer>,
}

impl<'a> OutFrame<'a> {
    /// The first `bytes` of `buffer`'s audio as a voice frame in the borrowed format.
    ///
    /// # Realtime
    /// No allocation, no lock.
    pub(crate) fn voice(buffer: &'a mut FrameBuffer, bytes: usize, formats: &BorrowedFormats<'_>) -> Self {
        let mut raw = ffi::ast_frame { frametype: ffi::AST_FRAME_VOICE, ..Default::default() };
        raw.subclass.__bindgen_anon_1.format = formats.ours.as_ptr();
        raw.datalen = bytes as c_int;
        raw.samples = (bytes / formats.format.sample_bytes()) as c_int;
        raw.offset = HEADROOM as c_int;
        raw.data.ptr = buffer.audio_ptr().cast();
        raw.src = c"AI".as_ptr();
        Self { raw, _buffer: PhantomData }
    }
}
