//! The first file.

/// The smallest file that works: one service. `app` is usually the folder's name; what is no name in it is left out.
pub fn init_file(app: &str) -> String {
    let app: String = app.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').take(64).collect();
    let app = if app.is_empty() || app == "null" { "app" } else { &app };
    format!(
        "app: {app}\n\
         services:\n  \
           api: {{ run: ./api, needs: [] }}   # it listens on $PORT; `needs: [other]` gives it $OTHER_URL\n\
         routes:\n  \
           - {{ match: \"/*\", to: api }}\n"
    )
}
