//! The operator's page: files that are part of the module.
//!
//! They hold nothing of any call, so whoever reaches the port may have them. What the page shows it asks the API for, with
//! the token that its user has typed.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use super::problem;

/// What the page's files may do: be loaded from here and talk to here; recordings are played from memory. No script and no
/// style stands in the page itself, and text cannot become either.
const POLICY: &str = "default-src 'self'; connect-src 'self'; media-src 'self' blob:; object-src 'none'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page itself.
const INDEX: &str = "index.html";

macro_rules! files {
    ($($kind:ident: $($name:literal),+;)+) => {
        &[$($(($name, $kind, include_bytes!(concat!("../page/", $name)))),+),+]
    };
}

/// Name, content type, content.
const FILES: &[(&str, &str, &[u8])] = files! {
    HTML: "index.html";
    CSS: "style.css", "call.css";
    SVG: "icons.svg", "logo.svg";
    SCRIPT: "api.js", "call.js", "calls.js", "dial.js", "dom.js", "early.js", "en.js", "format.js", "help.js", "hints.js",
        "history.js", "i18n.js", "login.js", "main.js", "prefs.js", "recordings.js", "ru.js", "socket.js", "store.js",
        "transcript.js";
};

struct File {
    name: &'static str,
    kind: HeaderValue,
    content: Bytes,
    /// Stands for the content (RFC 9110 §8.8.3).
    tag: HeaderValue,
}

static PAGE: LazyLock<Vec<File>> = LazyLock::new(|| {
    let file = |(name, kind, content): &(&'static str, &'static str, &'static [u8])| {
        let tag = format!("\"{}\"", base64_simd::URL_SAFE_NO_PAD.encode_to_string(&Sha256::digest(content)[..15]));
        let Ok(tag) = HeaderValue::try_from(tag) else { unreachable!("base64 can stand in a header") };
        File { name, kind: HeaderValue::from_static(kind), content: Bytes::from_static(content), tag }
    };
    FILES.iter().map(file).collect()
});

/// `/` and what it loads.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { serve(INDEX, &headers) }))
        .route(
            "/page/{file}",
            get(|Path(name): Path<String>, headers: HeaderMap| async move { serve(&name, &headers) }),
        )
        .method_not_allowed_fallback(problem::no_method)
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = PAGE.iter().find(|file| file.name == name) else { return problem::missing().into_response() };
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|list| list.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.trim_start_matches("W/") == file.tag
    });
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, file.kind.clone())], file.content.clone()).into_response()
    };
    response.headers_mut().extend([
        (ETAG, file.tag.clone()),
        // Kept, but asked for each time: after an update nobody has half of each.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), SAME_ORIGIN),
        (HeaderName::from_static("cross-origin-resource-policy"), SAME_ORIGIN),
    ]);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, tag: &str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::try_from(tag).expect("a header"));
        serve(name, &headers)
    }

    #[test]
    fn a_file_is_sent_once_and_after_that_only_if_it_changed() {
        let first = ask(INDEX, "\"another\"");
        assert_eq!((first.status(), &first.headers()[CONTENT_TYPE]), (StatusCode::OK, &HeaderValue::from_static(HTML)));
        let tag = first.headers()[ETAG].to_str().expect("text");
        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = ask(INDEX, &known);
            assert_eq!((again.status(), again.headers()[ETAG].to_str().ok()), (StatusCode::NOT_MODIFIED, Some(tag)));
        }
        assert_eq!(ask("../api.rs", "").status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_nothing_stands_in_line() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
        for entry in std::fs::read_dir(folder).expect("it is there") {
            let name = entry.expect("readable").file_name();
            let name = name.to_str().expect("text");
            assert!(PAGE.iter().any(|file| file.name == name), "{name} is not served");
        }
        let page = std::str::from_utf8(&PAGE[0].content).expect("text");
        for forbidden in ["<style", " style=", " onclick", "http://", "https://"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn what_the_page_loads_is_there() {
        let texts = PAGE.iter().filter_map(|file| Some((file.name, std::str::from_utf8(&file.content).ok()?)));
        for (name, text) in texts {
            let by_path = text.split("/page/").skip(1).map(|rest| (rest, ['"', '#']));
            let by_import = text.split("from \"./").skip(1).map(|rest| (rest, ['"', '"']));
            for (rest, ends) in by_path.chain(by_import) {
                let loaded = rest.split(ends).next().unwrap_or_default();
                assert!(PAGE.iter().any(|file| file.name == loaded), "{name} loads {loaded}");
            }
        }
    }
}
