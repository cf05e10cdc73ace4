//! Builds the C shim against Asterisk's headers and generates the bindings.
//!
//! `ASTERISK_INCLUDE_DIR` names the folder that holds `asterisk.h`; without it `/usr/include` is taken. The module
//! fits the Asterisk whose headers these are, and no other: Asterisk compares a sum of build options at load.

use std::env;
use std::path::{Path, PathBuf};

const SHIM: &str = "res_ai_bridge/shim.c";
const HEADER: &str = "res_ai_bridge/shim.h";

fn main() {
    println!("cargo::rerun-if-env-changed=ASTERISK_INCLUDE_DIR");
    println!("cargo::rerun-if-changed={SHIM}");
    println!("cargo::rerun-if-changed={HEADER}");
    let include = PathBuf::from(env::var_os("ASTERISK_INCLUDE_DIR").unwrap_or("/usr/include".into()));
    if !include.join("asterisk.h").exists() {
        println!(
            "cargo::error=no asterisk.h in {}: install Asterisk's development headers (Debian: asterisk-dev), or point \
             ASTERISK_INCLUDE_DIR at the folder that holds asterisk.h; `make` does this by itself",
            include.display()
        );
        return;
    }
    // Another Asterisk's headers in the same place: its options, its version's structures.
    for header in ["buildopts.h", "autoconfig.h", "channel.h", "frame.h"] {
        println!("cargo::rerun-if-changed={}", include.join("asterisk").join(header).display());
    }
    compile_shim(&include);
    generate_bindings(&include);
    // Threads and thread-local destructors of ours may outlive `module unload`: their code must stay mapped.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,now");
}

fn defines() -> [(&'static str, &'static str); 3] {
    [
        ("AST_MODULE", "\"res_ai_bridge\""),
        ("AST_MODULE_SELF_SYM", "__internal_res_ai_bridge_self"),
        ("_GNU_SOURCE", "1"),
    ]
}

fn compile_shim(include: &Path) {
    let mut build = cc::Build::new();
    build.file(SHIM).include(include).std("gnu17").warnings(true).extra_warnings(false);
    for (name, value) in defines() {
        build.define(name, value);
    }
    // Nothing refers to the constructor that AST_MODULE_INFO makes: without this the linker would drop it.
    build.link_lib_modifier("+whole-archive").compile("res_ai_bridge_shim");
}

fn generate_bindings(include: &Path) {
    let mut builder = bindgen::Builder::default()
        .header(HEADER)
        .clang_arg(format!("-I{}", include.display()))
        // RAII_VAR in Asterisk's headers needs blocks under clang.
        .clang_arg("-fblocks")
        .allowlist_function("ai_shim_.*")
        .allowlist_function("ast_(read|write|raw_answer|indicate|indicate_data|check_hangup|deactivate_generator)")
        .allowlist_function("ast_(waitfor_nandfds|frame_free|set_read_format|set_write_format|config_load2)")
        .allowlist_function("ast_channel_(name|uniqueid|state|softhangup_internal_flag|tech_pvt)")
        .allowlist_function("ast_format_(get_sample_rate|cmp|cache_get_slin_by_rate)")
        .allowlist_function("ast_(config_destroy|category_browse|variable_browse|register_atexit|unregister_atexit)")
        .allowlist_function("ast_unregister_thread|ast_get_version")
        .allowlist_function("pbx_(builtin_setvar_helper|substitute_variables_helper)")
        .allowlist_function("pbx_(findapp|exec)|ast_(spawn_extension|hangup|softhangup|senddigit_begin|senddigit_end)")
        .allowlist_function("ast_(call|waitfor|pbx_run|exists_extension|channel_publish_dial)|ast_channel_(start|stop)_silence_generator")
        .allowlist_function("ast_cdr_(is_enabled|setuserfield)|ast_channel_hangupcause_set|ast_shutting_down")
        .allowlist_function("ast_channel_(context|exten|priority|flags)|ast_channel_(context|exten|priority)_set")
        .allowlist_function("__ao2_ref")
        .allowlist_function("astman_(get_header|send_ack|send_listack|send_list_complete_start|send_list_complete_end)")
        .allowlist_var("ast_format_(alaw|ulaw)|ast_config_AST_(CONFIG_DIR|DATA_DIR|DB|MONITOR_DIR)|ast_defaultlanguage|AST_FLAG_IN_AUTOLOOP|AST_SOFTHANGUP_(ASYNCGOTO|EXPLICIT)|AST_CAUSE_NO_ANSWER|ai_shim_.*|AI_TAP_.*|AST_FRIENDLY_OFFSET|AST_FRFLAG_HAS_(TIMING_INFO|SEQUENCE_NUMBER)|RESULT_(SUCCESS|SHOWUSAGE)|ast_verb_sys_level|__LOG_(WARNING|ERROR)|EVENT_FLAG_(CALL|REPORTING)")
        .allowlist_type("ast_frame|ai_shim_tap_answer|ast_cli_.*|ast_variable|ast_control_t38_parameters|ast_control_frame_type|ast_pbx_result")
        .opaque_type("ast_app|ast_silence_generator|ast_channel|ast_format|ast_config|mansession|message")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .generate_comments(false)
        .derive_default(true)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .layout_tests(true);
    for (name, value) in defines() {
        builder = builder.clang_arg(format!("-D{name}={value}"));
    }
    let bindings = builder.generate().expect("bindgen reads Asterisk's headers; libclang must be installed");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindings.write_to_file(out).expect("cargo's OUT_DIR can be written");
}
