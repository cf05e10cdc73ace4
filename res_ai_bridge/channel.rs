//! A channel of Asterisk, its frames and its formats, behind safe methods.

mod frame;

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::time::Duration;

use ai_media::{Encoding, Format};
use ai_sidecar::link::Doorbell;
use std::os::fd::AsRawFd as _;

pub(crate) use self::frame::{Content, Frame, FrameBuffer, OutFrame};
use crate::ffi;
use crate::log::c_string;

/// The channel whose thread is running right now.
///
/// Not `Send`: everything here belongs to the channel's own thread.
pub(crate) struct Channel {
    raw: NonNull<ffi::ast_channel>,
    /// The driver's end of the line, to tell one from the other by.
    line: Cell<*mut c_void>,
    _own_thread: PhantomData<*mut ()>,
}

/// Longest value of a channel variable that is read here. [bytes]
const VARIABLE_MAX: usize = 256;

/// What `ast_waitfor_nandfds` leaves of the time when the system refuses to wait.
const WAIT_FAILED: c_int = -1;

/// Longest number of a caller, NUL included; what is longer is cut. [bytes]
const NUMBER_MAX: usize = 128;

/// Why [`Channel::wait`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A frame can be read.
    Frame,
    /// The sidecar has rung.
    Doorbell,
    /// The time is over, or a signal came.
    Time,
    /// The system refused to wait: trying again would only spin.
    Broken,
}

impl Channel {
    /// # Safety
    /// The calling thread is the one that serves the channel `raw`: an application was called with it there, or it was dialled
    /// there. The channel lives as long as the value.
    pub(crate) unsafe fn from_raw(raw: *mut ffi::ast_channel) -> Option<Self> {
        let channel = NonNull::new(raw).map(|raw| Self { raw, line: Cell::default(), _own_thread: PhantomData })?;
        channel.has_another_line();
        Some(channel)
    }

    pub(crate) fn raw(&self) -> *mut ffi::ast_channel {
        self.raw.as_ptr()
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        // SAFETY: the channel is valid (`from_raw`), and its name is a NUL-terminated string while it is.
        let name = unsafe { CStr::from_ptr(ffi::ast_channel_name(self.raw())) };
        name.to_string_lossy().into_owned()
    }

    /// Its unique id.
    pub(crate) fn unique_id(&self) -> String {
        // SAFETY: as in `name`.
        let id = unsafe { CStr::from_ptr(ffi::ast_channel_uniqueid(self.raw())) };
        id.to_string_lossy().into_owned()
    }

    /// The caller's number, if there is one.
    pub(crate) fn caller_number(&self) -> Option<String> {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread; the buffer has that size.
        text::<NUMBER_MAX>(|number, size| unsafe { ffi::ai_shim_caller_number(self.raw(), number, size) })
    }

    /// The number of whom the channel is connected with, if there is one.
    pub(crate) fn connected_number(&self) -> Option<String> {
        // SAFETY: as in `caller_number`.
        text::<NUMBER_MAX>(|number, size| unsafe { ffi::ai_shim_connected_number(self.raw(), number, size) })
    }

    /// True if the call is answered.
    pub(crate) fn is_up(&self) -> bool {
        // SAFETY: the channel is valid (`from_raw`).
        unsafe { ffi::ast_channel_state(self.raw()) == ffi::AST_STATE_UP }
    }

    /// Answers, without waiting for media to arrive. False if the channel is gone.
    pub(crate) fn answer(&self) -> bool {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread.
        unsafe { ffi::ast_raw_answer(self.raw()) == 0 }
    }

    /// Opens early media.
    pub(crate) fn progress(&self) {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread.
        unsafe { ffi::ast_indicate(self.raw(), ffi::AST_CONTROL_PROGRESS as c_int) };
    }

    /// True if the channel is to be hung up.
    pub(crate) fn is_hung_up(&self) -> bool {
        // SAFETY: the channel is valid (`from_raw`).
        unsafe { ffi::ast_check_hangup(self.raw()) != 0 }
    }

    /// True if somebody sends the channel to another place in the dialplan.
    pub(crate) fn is_redirected(&self) -> bool {
        // SAFETY: the channel is valid (`from_raw`).
        let flags = unsafe { ffi::ast_channel_softhangup_internal_flag(self.raw()) };
        flags & ffi::AST_SOFTHANGUP_ASYNCGOTO as c_int != 0
    }

    /// True once after the channel has got another phone's line: Asterisk puts that into the place of the first when a call
    /// is transferred into a running application (masquerade).
    ///
    /// # Realtime
    /// One load.
    pub(crate) fn has_another_line(&self) -> bool {
        // SAFETY: the channel is valid (`from_raw`); the answer is compared, never followed.
        let line = unsafe { ffi::ast_channel_tech_pvt(self.raw()) };
        self.line.replace(line) != line
    }

    /// Stops tones and music that would swallow what is written.
    pub(crate) fn stop_generator(&self) {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread.
        unsafe { ffi::ast_deactivate_generator(self.raw()) };
    }

    /// Refuses a switch to fax; without an answer the other side waits for five seconds.
    pub(crate) fn refuse_t38(&self) {
        let mut refusal =
            ffi::ast_control_t38_parameters { request_response: ffi::AST_T38_REFUSED, ..Default::default() };
        // SAFETY: the channel is valid (`from_raw`); the data is the structure this control frame carries and lives until
        // the call returns.
        unsafe {
            ffi::ast_indicate_data(
                self.raw(),
                ffi::AST_CONTROL_T38_PARAMETERS as c_int,
                ptr::from_mut(&mut refusal).cast(),
                size_of_val(&refusal),
            )
        };
    }

    /// The channel variable `name`; empty if there is none.
    pub(crate) fn variable(&self, name: &CStr) -> String {
        // SAFETY: as in `caller_number`; the name is NUL-terminated.
        let value = text::<VARIABLE_MAX>(|value, size| unsafe {
            ffi::ai_shim_variable(self.raw(), name.as_ptr(), value, size)
        });
        value.unwrap_or_default()
    }

    /// Runs the application `name` of another module; false if there is none of that name, or it wants the channel hung up.
    pub(crate) fn run(&self, name: &CStr, arguments: &str) -> bool {
        let arguments = c_string(arguments);
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread; the texts live until the calls return.
        // Asterisk keeps its record of an application, and the application's module while it runs.
        unsafe {
            let application = ffi::pbx_findapp(name.as_ptr());
            !application.is_null() && ffi::pbx_exec(self.raw(), application, arguments.as_ptr()) == 0
        }
    }

    /// Sends silence until the answer is dropped, whoever else reads the channel.
    pub(crate) fn send_silence(&self) -> Silence<'_> {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread.
        Silence(self, unsafe { ffi::ast_channel_start_silence_generator(self.raw()) })
    }

    /// Waits until a frame can be read, or for about `time`. An error: the channel cannot be waited for.
    pub(crate) fn wait_for_frame(&self, time: Duration) -> Result<bool, ()> {
        let ms = time.as_millis().clamp(1, 10_000) as c_int;
        // SAFETY: the channel is valid (`from_raw`).
        match unsafe { ffi::ast_waitfor(self.raw(), ms) } {
            ..0 => Err(()),
            0 => Ok(false),
            _ => Ok(true),
        }
    }

    /// Puts `text` into the user field of the channel's call detail record, if such are made.
    pub(crate) fn set_cdr_userfield(&self, text: &str) {
        let (name, text) = (c_string(&self.name()), c_string(text));
        // SAFETY: both texts are NUL-terminated and live until the call returns, which copies them.
        unsafe {
            if ffi::ast_cdr_is_enabled() != 0 {
                ffi::ast_cdr_setuserfield(name.as_ptr(), text.as_ptr());
            }
        }
    }

    /// Begins to send the key `digit` to the phone, as the driver has agreed with it: as an event, or as a tone.
    ///
    /// # Realtime
    /// A packet or two are sent, under the locks that `ast_write` takes. No allocation of ours.
    pub(crate) fn begin_digit(&self, digit: char) {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread.
        unsafe { ffi::ast_senddigit_begin(self.raw(), digit as c_char) };
    }

    /// Ends the key that was begun, which lasted `time`.
    ///
    /// # Realtime
    /// As [`Channel::begin_digit`].
    pub(crate) fn end_digit(&self, digit: char, time: Duration) {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread.
        unsafe { ffi::ast_senddigit_end(self.raw(), digit as c_char, time.as_millis() as c_uint) };
    }

    /// Sets the channel variable `name`.
    pub(crate) fn set_variable(&self, name: &CStr, value: &str) {
        let value = c_string(value);
        // SAFETY: the channel is valid (`from_raw`) and not locked; both strings live until the call returns.
        unsafe { ffi::pbx_builtin_setvar_helper(self.raw(), name.as_ptr(), value.as_ptr()) };
    }

    /// What the phone itself speaks; codecs other than G.711 count as linear at their rate.
    pub(crate) fn phone_format(&self) -> Format {
        let Some(format) = self.phone_codec() else { return Format::slin(8000) };
        // SAFETY: the format is held, and the cached ones live as long as Asterisk.
        unsafe {
            let is = |other| ffi::ast_format_cmp(format.0.as_ptr(), other) == ffi::AST_FORMAT_CMP_EQUAL;
            match () {
                () if is(ffi::ast_format_alaw) => Format::ALAW,
                () if is(ffi::ast_format_ulaw) => Format::ULAW,
                () => Format::slin(ffi::ast_format_get_sample_rate(format.0.as_ptr())),
            }
        }
    }

    /// What the phone speaks now.
    fn phone_codec(&self) -> Option<FormatRef> {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread; the answer is ours to give back.
        unsafe { FormatRef::from_raw(ffi::ai_shim_phone_format(self.raw())) }
    }

    /// Sets what is read and written; false if Asterisk cannot translate. `format` is valid.
    fn set_formats(&self, read: NonNull<ffi::ast_format>, write: NonNull<ffi::ast_format>) -> bool {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread; the callers hold the formats.
        unsafe {
            let read = ffi::ast_set_read_format(self.raw(), read.as_ptr()) == 0;
            let write = ffi::ast_set_write_format(self.raw(), write.as_ptr()) == 0;
            read && write
        }
    }

    /// Makes the channel read and write `format` until the answer is dropped. `None` if Asterisk cannot translate.
    pub(crate) fn borrow_formats(&self, format: Format) -> Option<BorrowedFormats<'_>> {
        BorrowedFormats::new(self, format)
    }

    /// Sleeps until there is a frame, the doorbell rings or `time` is over. Wakes up to 1 ms before that, never after: the
    /// wait counts whole milliseconds.
    ///
    /// # Realtime
    /// This is where the thread sleeps.
    pub(crate) fn wait(&self, time: Duration, doorbell: &Doorbell) -> Wake {
        let mut channels = [self.raw()];
        let mut fds = [doorbell.file().as_raw_fd()];
        let (mut exception, mut ready, mut ms) = (0, -1, time.as_millis() as c_int);
        // SAFETY: the channel is valid (`from_raw`), both arrays have the lengths given, and everything lives until the
        // call returns.
        let winner = unsafe {
            ffi::ast_waitfor_nandfds(
                channels.as_mut_ptr(),
                channels.len() as c_int,
                fds.as_mut_ptr(),
                fds.len() as c_int,
                &mut exception,
                &mut ready,
                &mut ms,
            )
        };
        match (winner.is_null(), ms) {
            (false, _) => Wake::Frame,
            (true, WAIT_FAILED) => Wake::Broken,
            (true, _) if ready == doorbell.file().as_raw_fd() => Wake::Doorbell,
            (true, _) => Wake::Time,
        }
    }

    /// Reads the next frame; `None` when the channel is to be hung up or goes elsewhere.
    ///
    /// # Realtime
    /// As `ast_read`: no allocation of ours.
    pub(crate) fn read(&self) -> Option<Frame> {
        // SAFETY: the channel is valid (`from_raw`) and not locked by this thread.
        NonNull::new(unsafe { ffi::ast_read(self.raw()) }).map(Frame)
    }

    /// Writes `frame`. A failure shows at the next read.
    ///
    /// # Realtime
    /// As `ast_write`: no allocation of ours.
    pub(crate) fn write(&self, frame: &mut OutFrame<'_>) {
        // SAFETY: the channel is valid (`from_raw`) and not locked; the frame and its buffer live until the call
        // returns, and Asterisk copies what it keeps of a frame that is not marked as allocated.
        unsafe { ffi::ast_write(self.raw(), &mut frame.raw) };
    }
}

/// What `fill` puts into a buffer of that size, in front of a NUL; `None` if that is nothing.
pub(crate) fn text<const SIZE: usize>(fill: impl FnOnce(*mut c_char, usize)) -> Option<String> {
    let mut buffer = [0_u8; SIZE];
    fill(buffer.as_mut_ptr().cast(), SIZE);
    let text = CStr::from_bytes_until_nul(&buffer).ok()?.to_string_lossy();
    (!text.is_empty()).then(|| text.into_owned())
}

/// Silence that is sent; see [`Channel::send_silence`].
pub(crate) struct Silence<'a>(&'a Channel, *mut ffi::ast_silence_generator);

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if !self.1.is_null() {
            // SAFETY: the generator was started on this very channel, and ends here.
            unsafe { ffi::ast_channel_stop_silence_generator(self.0.raw(), self.1) };
        }
    }
}

/// The channel's read and write formats, set for a conversation and given back when dropped.
pub(crate) struct BorrowedFormats<'a> {
    channel: &'a Channel,
    read: FormatRef,
    write: FormatRef,
    /// The phone's codec at the beginning.
    phone: FormatRef,
    ours: NonNull<ffi::ast_format>,
    format: Format,
}

impl<'a> BorrowedFormats<'a> {
    fn new(channel: &'a Channel, format: Format) -> Option<Self> {
        let ours = asterisk_format(format)?;
        // SAFETY: the channel is valid and not locked by this thread; the answers are ours to give back.
        let (read, write) = unsafe {
            (
                FormatRef::from_raw(ffi::ai_shim_read_format(channel.raw()))?,
                FormatRef::from_raw(ffi::ai_shim_write_format(channel.raw()))?,
            )
        };
        let borrowed = Self { channel, read, write, phone: channel.phone_codec()?, ours, format };
        // A translator that a bridge has used counts frames and swallows those without a number, which ours are. It would
        // be used again where the bridge wrote in our format.
        channel.set_formats(borrowed.phone.0, borrowed.phone.0);
        // A failure half way is undone by dropping `borrowed`.
        channel.set_formats(ours, ours).then_some(borrowed)
    }

    /// What the channel reads and writes now.
    pub(crate) fn format(&self) -> Format {
        self.format
    }
}

impl Drop for BorrowedFormats<'_> {
    fn drop(&mut self) {
        let now = self.channel.phone_codec();
        match now.filter(|now| !now.is(&self.phone)) {
            // Another phone, or another codec: what was borrowed would only squeeze it into that of the first.
            Some(now) => self.channel.set_formats(now.0, now.0),
            None => self.channel.set_formats(self.read.0, self.write.0),
        };
    }
}

/// A counted reference to one of Asterisk's formats.
struct FormatRef(NonNull<ffi::ast_format>);

impl FormatRef {
    /// # Safety
    /// `format` is null, or comes with a reference that nobody else gives back.
    unsafe fn from_raw(format: *mut ffi::ast_format) -> Option<Self> {
        NonNull::new(format).map(Self)
    }

    /// True if `other` is the same format.
    fn is(&self, other: &Self) -> bool {
        // SAFETY: both are held.
        unsafe { ffi::ast_format_cmp(self.0.as_ptr(), other.0.as_ptr()) == ffi::AST_FORMAT_CMP_EQUAL }
    }
}

impl Drop for FormatRef {
    fn drop(&mut self) {
        // SAFETY: gives back the one reference that came with the format; the strings are static.
        unsafe {
            ffi::__ao2_ref(self.0.as_ptr().cast(), -1, c"".as_ptr(), c"channel.rs".as_ptr(), 0, c"drop".as_ptr())
        };
    }
}

/// Asterisk's object for `format`, which lives as long as Asterisk.
fn asterisk_format(format: Format) -> Option<NonNull<ffi::ast_format>> {
    // SAFETY: the cached formats are set before any module loads and live until the process ends.
    NonNull::new(unsafe {
        match format.encoding {
            Encoding::Alaw => ffi::ast_format_alaw,
            Encoding::Ulaw => ffi::ast_format_ulaw,
            Encoding::Slin => ffi::ast_format_cache_get_slin_by_rate(format.rate_hz),
        }
    })
}
