use super::*;

fn parse(text: &str) -> Result<File, Diagnostics> {
    let source = Arc::new(SourceFile::new(Path::new("../..").join(NAME), text));
    let command = super::super::options::command();
    File::parse(&source, command.find_subcommand("run").unwrap())
}

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = parse(text).expect_err(text);
    let shown = mistakes.sorted().into_iter().map(|mistake| {
        let help = mistake.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{}:{} {}{help}", mistake.location.line, mistake.location.column, mistake.message)
    });
    shown.collect()
}

fn values(file: &File, option: &str) -> Vec<String> {
    file.setting(option).unwrap().texts()
}

#[test]
fn the_example_of_each_key_is_valid() {
    let text: String = KEYS.iter().map(|key| format!("{} = {}\n", key.name, key.example)).collect();
    let file = parse(&text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
    assert_eq!(file.settings.len() + file.qemus.len(), KEYS.len());
}

#[test]
fn each_key_sets_an_option_of_run() {
    let command = super::super::options::command();
    let run = command.find_subcommand("run").unwrap();
    for key in &KEYS {
        assert!(run.get_arguments().any(|arg| arg.get_id() == key.option), "{}", key.name);
    }
}

#[test]
fn a_path_is_relative_to_the_file_and_a_program_without_a_slash_is_searched() {
    let file = parse(
        "scenarios = ['a/*.yaml', '/b']\nreports = 'r'\nqemu = 'qemu-system-x86_64'\nqemus = {old = 'x/q'}\n",
    );
    let file = file.unwrap();
    assert_eq!(values(&file, "files"), ["../../a/*.yaml", "/b"]);
    assert_eq!(values(&file, "reports"), ["../../r"]);
    let qemus: Vec<_> = file.qemus.iter().map(|qemu| (qemu.name.as_str(), qemu.path.as_str())).collect();
    assert_eq!(qemus, [("default", "qemu-system-x86_64"), ("old", "../../x/q")]);
}

#[test]
fn each_mistake_has_its_place_and_what_would_be_right() {
    let told = [
        ("job = 2\n", "1:1 unknown key `job`; did you mean `jobs`?"),
        ("jobs = [2]\n", "1:8 `jobs` is a number or a text, not a list; write `jobs = 2`"),
        ("slow = '2'\n", "1:8 `slow` is a number, not a text; write `slow = 2.5`"),
        ("jobs = 0\n", "1:8 not a valid `jobs`: write a number from 1 to 65535, or `auto`; write `jobs = 2`"),
        (
            "jobs = 'all'\n",
            "1:8 not a valid `jobs`: write a number from 1 to 65535, or `auto`; write `jobs = 2`",
        ),
        ("slow = nan\n", "1:8 not a valid `slow`: write a number from 0.01 to 10000; write `slow = 2.5`"),
        (
            "accel = 'xen'\n",
            "1:9 not a valid `accel`: `xen` is not an accelerator; use `kvm` or `tcg`; write `accel = \"tcg\"`",
        ),
        ("keep = 'allways'\n", "1:8 not a valid `keep`: `allways`; did you mean `always`?"),
        ("tags = [1]\n", "1:9 `tags` is a list of texts, not a number; write `tags = [\"!soak\"]`"),
        ("tags = ['a,b']\n", "1:9 a value of `tags` cannot contain a comma; write `tags = [\"!soak\"]`"),
        ("tags = []\n", "1:8 `tags` is empty; write `tags = [\"!soak\"]`, or omit the key"),
        ("reports = ''\n", "1:11 a value of `reports` is empty; write `reports = \"reports\"`"),
        (
            "qemus = 'x'\n",
            "1:9 `qemus` is a table of paths, not a text; write `qemus = {old = \"/usr/bin/qemu-system-x86_64\"}`",
        ),
        (
            "[qemus]\ndefault = 'x'\n",
            "2:11 `default` cannot be the name of a QEMU; set the QEMU without a name by `qemu`",
        ),
    ];
    for (text, expected) in told {
        assert_eq!(mistakes(text), [expected], "{text}");
    }
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_file() {
    let all = mistakes("zzz = 1\nreports = 1\naccel = 2\n");
    let places: Vec<&str> = all.iter().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(places, ["1:1", "2:11", "3:9"]);
}

#[test]
fn what_is_not_toml_is_one_error_with_its_place() {
    for (text, place) in [("jobs = \n", "1:8"), ("jobs: 2\n", "1:7"), ("jobs = 1\njobs = 2\n", "2:1")] {
        let all = mistakes(text);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with(&format!("{place} not valid TOML: ")), "{all:?}");
    }
}
