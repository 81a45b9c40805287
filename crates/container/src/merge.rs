//! Merges what the user asks for with what the image proposes (Docker's `commit.go:merge`).

use orlop_types::config::Config;

/// Fills what the user left open from the image: the user wins; sets are joined; of the command
/// nothing comes from the image when the user gave an entry point.
pub(crate) fn merge(user: &mut Config, image: &Config) {
    let text = |mine: &mut String, theirs: &String| {
        if mine.is_empty() {
            mine.clone_from(theirs);
        }
    };
    text(&mut user.user, &image.user);
    text(&mut user.working_dir, &image.working_dir);
    if user.stop_signal.is_none() {
        user.stop_signal.clone_from(&image.stop_signal);
    }
    if user.stop_timeout.is_none() {
        user.stop_timeout = image.stop_timeout;
    }
    if user.shell.is_none() {
        user.shell.clone_from(&image.shell);
    }
    join(&mut user.exposed_ports, image.exposed_ports.as_ref());
    join(&mut user.labels, image.labels.as_ref());
    join(&mut user.volumes, image.volumes.as_ref());
    merge_environment(user, image);
    merge_command(user, image);
    merge_health(user, image);
}

/// Adds the image's keys that the user does not have.
fn join<V: Clone>(
    mine: &mut Option<std::collections::BTreeMap<String, V>>,
    theirs: Option<&std::collections::BTreeMap<String, V>>,
) {
    let Some(theirs) = theirs.filter(|map| !map.is_empty()) else { return };
    let mine = mine.get_or_insert_default();
    for (key, value) in theirs {
        mine.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn merge_environment(user: &mut Config, image: &Config) {
    let Some(theirs) = &image.env else { return };
    let mine = user.env.get_or_insert_default();
    for variable in theirs {
        let name = variable.split('=').next().unwrap_or(variable);
        if !mine.iter().any(|own| own.split('=').next() == Some(name)) {
            mine.push(variable.clone());
        }
    }
}

fn merge_command(user: &mut Config, image: &Config) {
    let given = user.entrypoint.as_ref().is_some_and(|words| !words.is_empty());
    if given {
        // A single empty word takes the image's entry point away.
        if user.entrypoint.as_deref().is_some_and(|words| words == [String::new()]) {
            user.entrypoint = None;
        }
        return;
    }
    if user.cmd.as_ref().is_none_or(Vec::is_empty) {
        user.cmd.clone_from(&image.cmd);
    }
    user.entrypoint.clone_from(&image.entrypoint);
}

fn merge_health(user: &mut Config, image: &Config) {
    let Some(theirs) = &image.healthcheck else { return };
    let Some(mine) = &mut user.healthcheck else {
        user.healthcheck = Some(theirs.clone());
        return;
    };
    if mine.test.as_ref().is_none_or(Vec::is_empty) {
        mine.test.clone_from(&theirs.test);
    }
    for (mine, theirs) in [
        (&mut mine.interval, theirs.interval),
        (&mut mine.timeout, theirs.timeout),
        (&mut mine.start_period, theirs.start_period),
        (&mut mine.start_interval, theirs.start_interval),
        (&mut mine.retries, theirs.retries),
    ] {
        if *mine == 0 {
            *mine = theirs;
        }
    }
}

/// The whole command: entry point and arguments.
pub(crate) fn command(config: &Config) -> Vec<String> {
    config.entrypoint.iter().chain(config.cmd.iter()).flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn commands_merge_as_docker_merges_them() {
        let image = Config { entrypoint: words(&["e"]), cmd: words(&["c"]), ..Config::default() };
        for (entrypoint, cmd, want) in [
            (None, None, vec!["e", "c"]),
            (None, words(&["x"]), vec!["e", "x"]),
            (words(&["f"]), None, vec!["f"]),
            (words(&["f"]), words(&["x"]), vec!["f", "x"]),
            (words(&[""]), words(&["x"]), vec!["x"]),
            (words(&[""]), None, vec![]),
        ] {
            let mut user = Config { entrypoint, cmd, ..Config::default() };
            merge(&mut user, &image);
            assert_eq!(command(&user), want);
        }
    }

    #[test]
    fn image_variables_come_after_the_users() {
        let image = Config { env: words(&["PATH=/bin", "A=image"]), ..Config::default() };
        let mut user = Config { env: words(&["A=mine", "B=2"]), ..Config::default() };
        merge(&mut user, &image);
        assert_eq!(user.env, words(&["A=mine", "B=2", "PATH=/bin"]));
    }

    #[test]
    fn sets_are_joined_and_the_user_wins() {
        let label = |value: &str| Some([("k".to_owned(), value.to_owned())].into());
        let mut image =
            Config { labels: label("image"), user: "web".to_owned(), ..Config::default() };
        image.labels.get_or_insert_default().insert("other".to_owned(), "o".to_owned());
        let mut user = Config { labels: label("mine"), ..Config::default() };
        merge(&mut user, &image);
        let labels = user.labels.expect("labels");
        assert_eq!(labels["k"], "mine");
        assert_eq!(labels["other"], "o");
        assert_eq!(user.user, "web");
    }
}
