//! `ai_bridge.conf` through Asterisk's own loader: templates, `#include` and `#exec` work, `${…}` is expanded.

use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::ptr;

use ai_sidecar::Homes;
use ai_sidecar::settings::{Folders, RawEntry, RawSection, Settings};
use tracing::error;

use crate::ffi;
use crate::log::c_string;

const FILE: &CStr = c"ai_bridge.conf";
/// Longest value after variables are expanded. [bytes]
const VALUE_MAX: usize = 16 * 1024;

/// Reads the configuration; what is wrong with it goes to the log, each with file and line.
pub(crate) fn load() -> Option<Settings> {
    let directory = config_dir();
    let Some(sections) = read_sections() else {
        error!(
            "AI: {} cannot be read; there is a sample in ai_bridge.conf.sample",
            directory.join("ai_bridge.conf").display()
        );
        return None;
    };
    Settings::parse(&sections, Folders { config: directory, sounds: sound_folders() })
        .map_err(|problems| problems.iter().for_each(|problem| error!("AI: {problem}")))
        .ok()
}

fn config_dir() -> PathBuf {
    // SAFETY: the pointer is set to a NUL-terminated string before any module loads and is not changed after that.
    unsafe { text(ffi::ast_config_AST_CONFIG_DIR) }.into()
}

/// Asterisk's `astdbdir`.
fn database_dir() -> PathBuf {
    // SAFETY: as above. It is the file in that directory.
    let file = PathBuf::from(unsafe { text(ffi::ast_config_AST_DB) });
    file.parent().map(Path::to_owned).unwrap_or_default()
}

/// Asterisk's folder for recordings, below `astspooldir`.
fn monitor_dir() -> PathBuf {
    // SAFETY: as above.
    unsafe { text(ffi::ast_config_AST_MONITOR_DIR) }.into()
}

/// Where Asterisk keeps what belongs to calls.
pub(crate) fn homes() -> Homes {
    Homes { database: database_dir(), recordings: monitor_dir() }
}

/// Where `Playback()` looks for sounds: those in the language of the exchange come first.
fn sound_folders() -> Vec<PathBuf> {
    // SAFETY: both are NUL-terminated strings that are set before any module loads and are not changed after that.
    let (data, language) =
        unsafe { (text(ffi::ast_config_AST_DATA_DIR), text((&raw const ffi::ast_defaultlanguage).cast())) };
    let sounds = PathBuf::from(data).join("sounds");
    vec![sounds.join(language), sounds]
}

fn read_sections() -> Option<Vec<RawSection>> {
    // SAFETY: both strings are NUL-terminated and live until the call returns.
    let config =
        unsafe { ffi::ast_config_load2(FILE.as_ptr(), c"res_ai_bridge".as_ptr(), ffi::ast_flags { flags: 0 }) };
    // Null: no such file. Small negative numbers: unchanged, or not to be parsed.
    if (config as isize) <= 0 && (config as isize) > -16 {
        return None;
    }
    let mut sections = Vec::new();
    let mut category = ptr::null_mut();
    loop {
        // SAFETY: the configuration is ours until destroyed below; the previous name came from it.
        category = unsafe { ffi::ast_category_browse(config, category) };
        if category.is_null() {
            break;
        }
        // SAFETY: the name is a NUL-terminated string of the configuration.
        sections.push(RawSection { name: unsafe { text(category) }, entries: read_entries(config, category) });
    }
    // SAFETY: the configuration came from `ast_config_load2` and is not used any more.
    unsafe { ffi::ast_config_destroy(config) };
    Some(sections)
}

fn read_entries(config: *mut ffi::ast_config, category: *const c_char) -> Vec<RawEntry> {
    let mut entries = Vec::new();
    // SAFETY: the list belongs to the configuration, which lives; its links end in null.
    let mut variable = unsafe { ffi::ast_variable_browse(config, category) };
    // SAFETY: null, or a link of the list.
    while let Some(line) = unsafe { variable.as_ref() } {
        // SAFETY: names, values and files of a link are NUL-terminated strings.
        let entry = unsafe {
            RawEntry {
                file: file_name(&text(line.file)),
                line: line.lineno as u32,
                key: text(line.name),
                value: expand(&text(line.value)),
            }
        };
        entries.push(entry);
        variable = line.next;
    }
    entries
}

/// The file of a line. Asterisk names it only where it was included from another.
fn file_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.is_empty() { FILE.to_string_lossy().into_owned() } else { name.to_owned() }
}

/// Expands Asterisk's variables and functions, as far as they need no channel.
fn expand(value: &str) -> String {
    if !value.contains("${") {
        return value.to_owned();
    }
    let template = c_string(value);
    let mut expanded = vec![0 as c_char; VALUE_MAX];
    // SAFETY: the buffer has the length given and starts out as an empty string; a null channel means globals only.
    unsafe {
        let length = (VALUE_MAX - 1) as i32;
        ffi::pbx_substitute_variables_helper(ptr::null_mut(), template.as_ptr(), expanded.as_mut_ptr(), length);
        text(expanded.as_ptr())
    }
}

/// # Safety
/// `string` is null or NUL-terminated.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: NUL-terminated, as the caller says.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}
