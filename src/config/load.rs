//! Which source wins, setting by setting, and what must fit together.

use super::environment::Environment;
use super::file::{self, File};
use super::given::{Given, Scheme};
use super::{Capture, Command, Config, Endpoint, Error, LogFormat, LogLevel, SttFormat, accounts, cli, stages};
use std::ffi::OsString;
use std::path::Path;

impl Config {
    /// Reads all settings; `args` are those after the program's name, relative paths start at `cwd`.
    ///
    /// # Errors
    /// The first setting that is wrong, in one line: its name, what it was, and what it may be.
    pub fn load(args: &[OsString], env: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<(Self, Command), Error> {
        let cli = match cli::parse(args)? {
            cli::Parsed::Settings(cli) => cli,
            cli::Parsed::Print(text) => return Ok((Self::default(), Command::Print(text))),
        };
        let env = Environment::read(env, cli.env_file.as_deref(), cwd)?;
        let file = File::read(cli.config.as_deref(), cwd)?;
        let mut config = Self { start: cli.start, warnings: env.warnings(), ..Self::default() };
        file.apply(&mut config)?;
        if let Some(tls) = &mut config.sip.tls {
            for path in [tls.certificate.as_mut(), tls.key.as_mut(), Some(&mut tls.kept_in)].into_iter().flatten() {
                *path = cwd.join(&*path);
            }
        }
        if let Some(log) = env.get("OFFHOOK_LOG").or(file.log()) {
            config.log = log.choice(LOG_LEVELS)?;
        }
        if let Some(format) = env.get("OFFHOOK_LOG_FORMAT").or(file.log_format()) {
            config.log_format = format.choice(LOG_FORMATS)?;
        }
        config.webhooks = file.webhooks(&env)?;
        config.read_addresses(&cli, &env, &file)?;
        let named = match (&cli.capture, file.capture_folder()) {
            (Some(folder), _) => Some((folder.clone(), "--capture".to_owned())),
            (None, folder) => folder.map(|folder| (folder.value.into(), folder.name)),
        };
        if let Some((folder, named)) = named {
            config.capture = Capture { folder: Some(cwd.join(folder)), named };
        }
        file.apply_tools(&env, &mut config.agent)?;
        if let Some(greeting) = env.get_even_empty("OFFHOOK_GREETING") {
            config.agent.greeting = greeting.text(file::PHRASE_MAX)?;
        }
        file.records().apply(env.get("OFFHOOK_RECORDS"), cwd, &mut config)?;
        config.read_providers(&env, &file, cwd)?;
        let command = match cli.command {
            None => Command::Run,
            Some(cli::Subcommand::Models) => Command::Models,
            Some(cli::Subcommand::Check { json }) => Command::Check { json },
            Some(cli::Subcommand::Ha1 { user }) => {
                let user = accounts::name(&Given { name: "ha1 USER".into(), value: user })?;
                Command::Ha1 { user, realm: config.sip.realm.clone() }
            }
            Some(cli::Subcommand::Call(args)) => Command::Call(Box::new(args.read(&env, cwd)?)),
            Some(cli::Subcommand::Replay(args)) => Command::Replay(args.read(cwd)?),
            Some(cli::Subcommand::Demo(args)) => Command::Demo(Box::new(args.read(cwd)?)),
        };
        Ok((config, command))
    }

    fn read_addresses(&mut self, cli: &cli::Cli, env: &Environment<'_>, file: &File) -> Result<(), Error> {
        if let Some(api) = cli.api().or(file.api()) {
            self.control.listen = api.address()?;
        }
        self.control.token = env.get("OFFHOOK_API_TOKEN").map(|token| token.secret()).transpose()?;
        if !self.control.listen.ip().is_loopback() && self.control.token.is_none() {
            let name = cli.api().map_or_else(|| "control.listen".to_owned(), |api| api.name);
            return Err(Error(format!(
                "{name}: {} can be reached from other machines; set OFFHOOK_API_TOKEN to the token that they must show, \
                 or listen on 127.0.0.1",
                self.control.listen
            )));
        }
        if let Some(sip) = cli.sip().or(file.sip_listen()) {
            self.sip.listen = sip.address()?;
        }
        if let Some(ports) = cli.rtp_ports().or(file.rtp_ports()) {
            self.media.rtp_ports = ports.port_range()?;
        }
        Ok(())
    }

    fn read_providers(&mut self, env: &Environment<'_>, file: &File, cwd: &Path) -> Result<(), Error> {
        let p = &mut self.providers;
        p.deepgram.read(env, file, "DEEPGRAM", Scheme::WebSocket)?;
        p.groq.read(env, file, "GROQ", Scheme::Http)?;
        p.openai.read(env, file, "OPENAI", Scheme::Http)?;
        p.cartesia.read(env, file, "CARTESIA", Scheme::WebSocket)?;
        if let Some(voice) = env.get("CARTESIA_VOICE").or(file.cartesia_voice()) {
            p.cartesia_voice = voice.word()?;
        }
        if let Some(model) = env.get("AURA_MODEL").or(file.aura_model()) {
            p.aura_model = model.word()?;
        }
        p.elevenlabs.read(env, file, "ELEVENLABS", Scheme::WebSocket)?;
        if let Some(voice) = env.get("ELEVENLABS_VOICE").or(file.elevenlabs_voice()) {
            p.elevenlabs_voice = voice.word()?;
        }
        if let Some(format) = env.get("OFFHOOK_STT_FORMAT").or(file.stt_format()) {
            p.stt_format = format.choice(STT_FORMATS)?;
        }
        if let Some(models) = env.get("OFFHOOK_MODELS").or(file.models()) {
            p.models = cwd.join(models.value);
        } else if p.models.is_relative() {
            p.models = cwd.join(&p.models);
        }

        file.apply_llm(p)?;
        p.stt = stages::read(env, file, p)?;
        p.llm = stages::read(env, file, p)?;
        p.tts = stages::read(env, file, p)?;
        Ok(())
    }
}

impl Endpoint {
    /// Reads `{PREFIX}_API_KEY`, `{PREFIX}_BASE_URL` and `{PREFIX}_MODEL`.
    fn read(&mut self, env: &Environment<'_>, file: &File, prefix: &str, scheme: Scheme) -> Result<(), Error> {
        if let Some(key) = env.get(&format!("{prefix}_API_KEY")) {
            self.key = key.secret()?;
        }
        if let Some(url) = env.get(&format!("{prefix}_BASE_URL")).or(file.base_url(prefix)) {
            self.base_url = url.base_url(scheme)?;
        }
        if let Some(model) = env.get(&format!("{prefix}_MODEL")).or(file.model(prefix)) {
            self.model = model.word()?;
        }
        Ok(())
    }
}

const STT_FORMATS: &[(&str, SttFormat)] = &[("pcm16", SttFormat::Pcm16), ("mulaw", SttFormat::Mulaw)];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const LOG_LEVELS: &[(&str, LogLevel)] =
    &[("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];

#[cfg(test)]
mod tests {
    use super::super::{DigestAlgorithm, Llm, Srtp, Stt, Tts};
    use super::*;
    use std::fmt::Write as _;
    use std::time::Duration;

    /// Files by name, in a working directory of their own.
    struct Setup {
        folder: tempfile::TempDir,
        env: Vec<(&'static str, &'static str)>,
    }

    fn setup(files: &[(&str, &str)]) -> Setup {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file for the test");
        }
        Setup { folder, env: Vec::new() }
    }

    fn lines(p: &super::super::Providers) -> (Vec<Stt>, Vec<Llm>, Vec<Tts>) {
        (p.stt.order.clone(), p.llm.order.clone(), p.tts.order.clone())
    }

    impl Setup {
        fn env(mut self, env: &[(&'static str, &'static str)]) -> Self {
            self.env.extend(env);
            self
        }

        fn load(&self, args: &str) -> Result<(Config, Command), Error> {
            let args: Vec<OsString> = args.split_whitespace().map(OsString::from).collect();
            let get = |name: &str| self.env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            Config::load(&args, &get, self.folder.path())
        }

        fn config(&self, args: &str) -> Config {
            self.load(args).expect("settings that are right").0
        }

        fn error(&self, args: &str) -> String {
            let error = self.load(args).expect_err(args).to_string();
            assert!(!error.contains('\n'), "{error}");
            error
        }
    }

    #[test]
    fn a_webhook_is_told_what_it_asks_for_and_shown_by_its_secret() {
        let toml = "[[webhooks]]\nurl = \"https://crm.example/calls\"\nsecret_env = \"CRM_SECRET\"\n";
        let mine = "[[webhooks]]\nurl = \"http://127.0.0.1:9/x\"\nsecret_env = \"CRM_SECRET\"\nevents = [\"turn\"]\n";
        let both = format!("{toml}{mine}");
        let config = setup(&[("offhook.toml", &both)]).env(&[("CRM_SECRET", "s3cret")]).config("");
        assert_eq!((config.webhooks.len(), config.webhooks[1].events[..].join(",")), (2, "turn".to_owned()));
        assert_eq!((config.webhooks[0].events.len(), config.webhooks[0].secret.expose()), (10, "s3cret"));
        assert!(setup(&[("offhook.toml", toml)]).error("").starts_with("CRM_SECRET: not set"));
        for (wrong, named) in [
            (mine.replace("127.0.0.1", "10.0.0.1"), "webhooks.url"),
            (mine.replace("turn", "turns"), "webhooks.events"),
            (mine.replace("\"turn\"", ""), "webhooks.events"),
        ] {
            let error = setup(&[("offhook.toml", &wrong)]).env(&[("CRM_SECRET", "s")]).error("");
            assert!(error.starts_with(named), "{error}");
        }
    }

    #[test]
    fn a_misspelt_name_is_told_where_the_right_one_is_not_set() {
        let file = "GROQ_APIKEY=gsk-secret\nREDIS_URL=redis://x\nDEEPGRAM_KEY=dg-secret\nDEEPGRAM_API_KEY=right\n";
        let config = setup(&[(".env", file)]).config("");
        let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
        assert!(warning.starts_with("GROQ_APIKEY in ") && warning.contains(".env, line 1 "), "{warning}");
        assert!(warning.ends_with("is not read; did you mean GROQ_API_KEY?"), "{warning}");
        let right = setup(&[(".env", file)]).env(&[("GROQ_API_KEY", "g")]).config("");
        assert!(right.warnings.is_empty(), "{:?}", right.warnings);
        let names = ["OFFHOOK_GREETNG", "GROQ_KEY", "OFFHOOK_STT", "OFFHOOK_PORT"].map(str::to_owned);
        assert_eq!(
            super::super::misspelt(names.into_iter()),
            ["OFFHOOK_GREETNG in the environment is not read; did you mean OFFHOOK_GREETING?"]
        );
    }

    #[test]
    fn log_lines_are_for_people_unless_a_program_reads_them() {
        assert_eq!(setup(&[]).config("").log_format, LogFormat::Text);
        assert_eq!(setup(&[("offhook.toml", "log_format = \"json\"")]).config("").log_format, LogFormat::Json);
        assert_eq!(setup(&[]).env(&[("OFFHOOK_LOG_FORMAT", "json")]).config("").log_format, LogFormat::Json);
    }

    #[test]
    fn calls_are_encrypted_as_the_file_says() {
        assert_eq!(setup(&[]).config("").media.srtp, Srtp::Optional);
        for (word, srtp) in [("off", Srtp::Off), ("optional", Srtp::Optional), ("mandatory", Srtp::Mandatory)] {
            let toml = format!("[media]\nsrtp = \"{word}\"\n");
            assert_eq!(setup(&[("offhook.toml", &toml)]).config("").media.srtp, srtp);
        }
        let error = setup(&[("offhook.toml", "[media]\nsrtp = \"on\"\n")]).error("");
        assert_eq!(error, "media.srtp in offhook.toml: \"on\" is not one of: off, optional, mandatory");
    }

    #[test]
    fn nothing_given_is_the_local_agent_on_loopback() {
        let config = setup(&[]).config("");
        assert_eq!(config.control.listen.to_string(), "127.0.0.1:8000");
        assert_eq!(config.sip.listen.to_string(), "0.0.0.0:5060");
        assert_eq!(config.media.rtp_ports, 10_000..=20_000);
        assert!(!config.start);
        let p = &config.providers;
        assert_eq!(lines(p), (vec![Stt::Local], vec![Llm::Local], vec![Tts::Local]));
        assert!(p.models.is_absolute());
    }

    #[test]
    fn each_stage_goes_where_its_key_is() {
        let config = setup(&[]).env(&[("GROQ_API_KEY", "gsk-1")]).config("--start");
        let p = &config.providers;
        assert!(config.start);
        assert_eq!(lines(p), (vec![Stt::Local], vec![Llm::Groq, Llm::Local], vec![Tts::Local]));
        assert!(!p.llm.wants(Llm::Local), "what nobody named is not obtained");
        let all = setup(&[(".env", "DEEPGRAM_API_KEY=d\nGROQ_API_KEY='g'\nexport CARTESIA_API_KEY=\"c\"\n")]);
        let p = all.config("").providers;
        assert_eq!((p.stt.first(), p.llm.first()), (Some(Stt::Flux), Some(Llm::Groq)));
        assert_eq!(p.tts.order, [Tts::Cartesia, Tts::Local]);
        assert_eq!(p.cartesia.key.expose(), "c");
        assert!(!format!("{p:?}").contains("\"g\""));
    }

    #[test]
    fn a_choice_is_stronger_than_a_key() {
        let env = [("GROQ_API_KEY", "g"), ("OFFHOOK_LLM", "echo"), ("OFFHOOK_STT", "echo"), ("OFFHOOK_TTS", "echo")];
        let p = setup(&[]).env(&env).config("").providers;
        assert_eq!(lines(&p), (vec![Stt::Echo], vec![Llm::Echo], vec![Tts::Echo]));
    }

    #[test]
    fn a_choice_without_its_key_is_refused() {
        let error = setup(&[]).env(&[("OFFHOOK_STT", "deepgram")]).error("");
        assert_eq!(
            error,
            "DEEPGRAM_API_KEY: not set, and OFFHOOK_STT is deepgram; set it, or set OFFHOOK_STT to local"
        );
        let error = setup(&[("offhook.toml", "[tts]\nuse = [\"local\", \"cartesia\"]")]).error("");
        assert_eq!(
            error,
            "CARTESIA_API_KEY: not set, and tts.use in offhook.toml names cartesia; set it, or leave it out"
        );
    }

    #[test]
    fn an_openai_server_needs_a_model_and_only_openai_a_key() {
        let env =
            [("OFFHOOK_LLM", "openai"), ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1/"), ("OPENAI_API_KEY", "")];
        assert!(setup(&[]).env(&env).error("").starts_with("OPENAI_MODEL: not set"));
        let local = setup(&[]).env(&env).env(&[("OPENAI_MODEL", "qwen3:8b")]).config("").providers;
        assert_eq!((local.llm.order, local.openai.base_url.as_str()), (vec![Llm::OpenAi], "http://127.0.0.1:11434/v1"));
        let error = setup(&[]).env(&[("OFFHOOK_LLM", "openai"), ("OPENAI_MODEL", "m")]).error("");
        assert!(error.starts_with("OPENAI_API_KEY: not set"), "{error}");
        // A key alone changes nothing: it is in many people's environment for other reasons.
        assert_eq!(setup(&[]).env(&[("OPENAI_API_KEY", "k")]).config("").providers.llm.order, [Llm::Local]);
    }

    #[test]
    fn a_stage_has_providers_in_order() {
        let keys = [("GROQ_API_KEY", "g"), ("OPENAI_API_KEY", "o"), ("OPENAI_MODEL", "m"), ("CARTESIA_API_KEY", "c")];
        let toml = "[llm]\nuse = [\"openai\", \"groq\", \"local\"]\nhedge_max = 0.2\nfirst_token_max_ms = 1500\n[stt]\nuse = [\"local\"]\n";
        let listed = |env: &[(&'static str, &'static str)]| {
            setup(&[("offhook.toml", toml)]).env(&keys).env(env).config("").providers
        };
        let p = listed(&[]);
        assert_eq!(
            lines(&p),
            (vec![Stt::Local], vec![Llm::OpenAi, Llm::Groq, Llm::Local], vec![Tts::Cartesia, Tts::Local])
        );
        assert!(p.llm.wants(Llm::Local) && !p.tts.wants(Tts::Local));
        assert_eq!((p.hedge_max, p.first_token_max), (0.2, Duration::from_millis(1500)));
        // A variable takes the front place, and those that the file lists stand behind it.
        assert_eq!(listed(&[("OFFHOOK_LLM", "groq")]).llm.order, [Llm::Groq, Llm::OpenAi, Llm::Local]);
        assert_eq!(listed(&[("OFFHOOK_TTS", "cartesia")]).tts.order, [Tts::Cartesia], "nobody but it was named");
    }

    #[test]
    fn a_wrong_list_is_refused_in_one_line() {
        let table = [
            ("[llm]\nuse = []", "llm.use in offhook.toml: it is empty"),
            ("[llm]\nuse = [\"local\", \"local\"]", "llm.use in offhook.toml: \"local\" is named twice"),
            ("[stt]\nuse = [\"local\", \"whisper\"]", "stt.use in offhook.toml: \"whisper\" is not one of: flux, "),
            ("[tts]\nuse = [\"local\", \"echo\"]", "tts.use in offhook.toml: echo plays"),
            ("[tts]\nuses = [\"local\"]", "tts.uses in "),
            (
                "[llm]\nfirst_token_max_ms = 1",
                "llm.first_token_max_ms in offhook.toml: 1 is not a whole number from 200",
            ),
            ("[llm]\nhedge_max = 2.0", "llm.hedge_max in offhook.toml: 2 is not a number from 0.0 to 1.0"),
        ];
        for (toml, start) in table {
            let error = setup(&[("offhook.toml", toml)]).error("");
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn the_nearest_source_wins() {
        let toml = "[sip]\nlisten = \"0.0.0.0:5070\"\n[providers.groq]\nmodel = \"file\"\n[agent]\ngreeting = \"file\"";
        let dotenv = "GROQ_MODEL=dotenv\nOFFHOOK_GREETING=dotenv\n";
        let files = [("offhook.toml", toml), (".env", dotenv)];
        let config = setup(&files[..1]).config("");
        assert_eq!(config.sip.listen.port(), 5070);
        assert_eq!((config.providers.groq.model.as_str(), config.agent.greeting.as_str()), ("file", "file"));
        let config = setup(&files).config("--sip 127.0.0.1:5080");
        assert_eq!(config.sip.listen.to_string(), "127.0.0.1:5080");
        assert_eq!((config.providers.groq.model.as_str(), config.agent.greeting.as_str()), ("dotenv", "dotenv"));
        let env = [("GROQ_MODEL", "process"), ("OFFHOOK_GREETING", "process")];
        let config = setup(&files).env(&env).config("");
        assert_eq!((config.providers.groq.model.as_str(), config.agent.greeting.as_str()), ("process", "process"));
    }

    #[test]
    fn an_empty_greeting_is_a_greeting_and_an_empty_key_is_none() {
        let setup =
            setup(&[(".env", "GROQ_API_KEY=from-file\n")]).env(&[("OFFHOOK_GREETING", ""), ("GROQ_API_KEY", "")]);
        let config = setup.config("");
        assert_eq!(config.agent.greeting, "");
        assert_eq!(config.providers.llm.order, [Llm::Local], "an empty variable hides the one of .env");
    }

    #[test]
    fn an_api_beyond_this_machine_needs_a_token() {
        let error = setup(&[]).error("--api 0.0.0.0:8000");
        assert!(
            error.starts_with("--api: 0.0.0.0:8000 can be reached") && error.contains("OFFHOOK_API_TOKEN"),
            "{error}"
        );
        let env = [("OFFHOOK_API_TOKEN", "0123456789abcdef")];
        let config = setup(&[]).env(&env).config("--api 0.0.0.0:8000");
        assert_eq!(config.control.token.expect("given").expose(), "0123456789abcdef");
        setup(&[]).config("--api [::1]:8000");
    }

    #[test]
    fn a_wrong_setting_says_its_name_its_value_and_what_it_may_be() {
        let table = [
            ("--api 8000", "", "", "--api: \"8000\" is not an address and port, such as 127.0.0.1:8000"),
            ("--sip localhost", "", "", "--sip: \"localhost\" is not an address and port"),
            ("--rtp-ports 20000-10000", "", "", "--rtp-ports: \"20000-10000\" is not a range of ports"),
            ("--nonsense", "", "", "unexpected argument '--nonsense' found"),
            ("dance", "", "", "unrecognized subcommand 'dance'"),
            ("--api", "", "", "a value is required for '--api <ADDR:PORT>'"),
            ("--config none.toml", "", "", "--config: "),
            ("--env-file none.env", "", "", "--env-file: "),
            ("", "OFFHOOK_STT", "whisper", "OFFHOOK_STT: \"whisper\" is not one of: flux, nova, local, echo, deepgram"),
            ("", "OFFHOOK_LLM", "Groq", "OFFHOOK_LLM: \"Groq\" is not one of: groq, openai, local, echo"),
            ("", "OFFHOOK_TTS", "x", "OFFHOOK_TTS: \"x\" is not one of: cartesia, aura, elevenlabs, local, echo"),
            ("", "OFFHOOK_STT_FORMAT", "opus", "OFFHOOK_STT_FORMAT: \"opus\" is not one of: pcm16, mulaw"),
            ("", "OFFHOOK_LOG", "loud", "OFFHOOK_LOG: \"loud\" is not one of: error, warn, info, debug"),
            ("", "DEEPGRAM_BASE_URL", "ws://api.deepgram.com", "DEEPGRAM_BASE_URL: \"ws://api.deepgram.com\" is not"),
            ("", "GROQ_BASE_URL", "wss://api.groq.com", "GROQ_BASE_URL: \"wss://api.groq.com\" is not"),
            ("", "GROQ_API_KEY", "two words", "GROQ_API_KEY: its 9 characters are not a key"),
            ("", "CARTESIA_VOICE", "a voice", "CARTESIA_VOICE: \"a voice\" is not a name"),
        ];
        for (args, name, value, start) in table {
            let setup = setup(&[]);
            let setup = if name.is_empty() { setup } else { setup.env(&[(name, value)]) };
            let error = setup.error(args);
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn a_wrong_file_names_the_key_and_the_line() {
        let table = [
            (
                "[agent]\ngreting = \"x\"",
                "agent.greting in ",
                "line 2: there is no such setting; did you mean greeting?",
            ),
            ("greeting = \"x\"", "greeting in ", "no such setting here; it belongs under [agent]"),
            ("[sip]\nsrtp = \"off\"", "sip.srtp in ", "it belongs under [media]"),
            ("[sip]\nport = 5060", "sip.port in ", "no such setting; there may be: listen, "),
            ("[agent]\nprompt = \"\"\"\nHello\n", "[agent] in ", "line 4, column 1: "),
            ("[slo]\nwelcome = 1", "slo.welcome in ", "there may be: turn_ms, share"),
            ("GROQ_API_KEY = \"x\"", "GROQ_API_KEY in ", "secrets are read from the environment or .env only"),
            ("GROQ_MODEL = \"x\"", "GROQ_MODEL in ", "environment or .env only, as NAME=value"),
            ("[agents]\n", "[agents] in ", "line 1: there is no such setting; did you mean agent?"),
            (
                "[agent]\nreprompt_after_s = \"12\"",
                "agent.reprompt_after_s in ",
                "line 2: \"12\" is not a whole number, without",
            ),
            ("[agent]\ngreeting = 5", "agent.greeting in ", "line 2: 5 is not a text, in quotes"),
            ("[agent]\nspeculation = \"yes\"", "agent.speculation in ", "\"yes\" is not true or false"),
            ("[llm]\nuse = \"groq\"", "llm.use in ", "\"groq\" is not a list, in [ ]"),
            ("[answers]\nanswer = \"x\"", "[answers] in ", "several of these: write [[answers]]"),
            ("[[agent]]\n", "[[agent]] in ", "there is one of these: write [agent]"),
            ("[agent]\ncall_max_s = -1", "agent.call_max_s in ", "-1 is not a whole number from 10 to 86400"),
            ("[sip]\ncalls_max = 0", "sip.calls_max in ", "0 is not a whole number from 1 to 10000"),
            ("[sip]\nsession_expires_s = 60", "sip.session_expires_s in ", "60 is not a whole number from 90 to 86400"),
            ("[sip]\ntransfer_to = [\"pbx\"]", "sip.transfer_to in ", "is not an address or a network"),
            ("[sip]\nexpires_min_s = 900", "sip.expires_default_s in ", "300 is not between"),
            ("[sip]\nadvertised_address = \"0.0.0.0\"", "sip.advertised_address in ", "is not an address"),
            ("[media]\nlatch = \"none\"", "media.latch in ", "is not one of: sdp, signalling, any"),
            ("[media]\nrtp_ports = \"x\"", "media.rtp_ports in ", "is not a range of ports"),
            ("[control]\nlisten = \"0.0.0.0:1\"", "control.listen: ", "OFFHOOK_API_TOKEN"),
            ("[stt]\nuse = [\"x\"]", "stt.use in ", "one of: flux"),
            ("[[answers]]\nquestions = []\nanswer = \"x\"", "answers in ", "answer 1 has 0 questions"),
            ("[[answers]]\nquestions = [\"x\"]", "", "line 1: answer is not set"),
            ("[agent\n", "", "line 1, column 7: "),
            ("[agent]\ngreeting = x", "agent.greeting in ", "line 2, column 12: string values must be quoted"),
        ];
        for (toml, start, within) in table {
            let error = setup(&[("offhook.toml", toml)]).error("");
            assert!(error.starts_with(start) && error.contains(within), "{error}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_refused_and_not_repeated() {
        let error = setup(&[("offhook.toml", "[providers.groq]\napi_key = \"gsk-hunter2\"")]).error("");
        assert!(error.contains("secrets are read from the environment or .env only"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        let error = setup(&[(".env", "A=1\nGROQ API KEY gsk-hunter2\n")]).error("");
        assert!(error.contains(".env, line 2: there is no = in it; ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_misspelt_name_in_dotenv_is_noticed() {
        let error = setup(&[(".env", "OFFHOOK_GREETNG=hi\n")]).error("");
        assert!(
            error.starts_with("OFFHOOK_GREETNG in ") && error.contains("did you mean OFFHOOK_GREETING?"),
            "{error}"
        );
        let error = setup(&[(".env", "\n\nOFFHOOK_X=hi\n")]).error("");
        assert!(error.contains(".env, line 3: there is no such setting; offhook --help"), "{error}");
    }

    #[test]
    fn what_editors_of_other_systems_write_is_read() {
        let files = [(".env", "\u{feff}GROQ_API_KEY=\"gsk-1\"\r\nOFFHOOK_GREETING=Hello there!\r\n")];
        let config = setup(&files).config("");
        assert_eq!((config.providers.groq.key.expose(), config.agent.greeting.as_str()), ("gsk-1", "Hello there!"));
        let setup = setup(&[]);
        std::fs::write(setup.folder.path().join(".env"), b"\xff\xfeG\0").expect("a file for the test");
        assert!(setup.error("").ends_with("it is not in UTF-8; save it as UTF-8"));
    }

    #[test]
    fn a_wrong_argument_is_told_with_what_was_meant() {
        for (args, told) in [
            ("--strat", "unexpected argument '--strat' found; did you mean '--start'? offhook --help lists them"),
            ("chekc", "unrecognized subcommand 'chekc'; did you mean 'check'? offhook --help lists them"),
            (
                "call --trun 5",
                "unexpected argument '--trun' found; did you mean '--turns'? offhook call --help lists them",
            ),
            ("replay", "the following required arguments were not provided: <DIR>; offhook replay --help lists them"),
            ("ha1", "the following required arguments were not provided: <USER>; offhook ha1 --help lists them"),
        ] {
            assert_eq!(setup(&[]).error(args), told);
        }
    }

    #[test]
    fn help_fits_a_terminal_of_80_columns() {
        for args in
            ["--help", "call --help", "demo --help", "replay --help", "check --help", "models --help", "ha1 --help"]
        {
            let (_, Command::Print(help)) = setup(&[]).load(args).expect("help") else { panic!("help is printed") };
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{args}: {line}");
            }
        }
    }

    #[test]
    fn a_capture_is_looked_for_before_it_is_run_again() {
        let setup = setup(&[]);
        let folder = setup.folder.path();
        assert!(setup.error("replay none").contains("none is not the folder of a captured call"));
        for call in ["1-call-1", "2-call-2"] {
            std::fs::create_dir_all(folder.join("captures").join(call)).expect("a folder for the test");
            std::fs::write(folder.join("captures").join(call).join("capture.json"), "").expect("a file for the test");
        }
        let error = setup.error("replay captures");
        assert!(
            error.ends_with("captures is not the folder of a captured call; it may be one in it, such as 2-call-2"),
            "{error}"
        );
        assert!(setup.load("replay captures/1-call-1").is_ok());
    }

    #[test]
    fn the_file_sets_what_it_may() {
        let toml = r#"
            log = "debug"
            [agent]
            prompt = "Be brief."
            business = "Harbour Dental"
            reprompt_after_s = 20
            call_max_s = 600
            [[answers]]
            questions = ["When are you open?", "opening hours"]
            answer = "From nine to five."
            [sip]
            advertised_address = "192.0.2.10"
            calls_max = 50
            [media]
            rtp_ports = "30000-30099"
            port_rest_ms = 500
            [providers]
            models = "kept/here"
            [providers.cartesia]
            voice = "v-1"
            model = "sonic-3.6"
        "#;
        let setup = setup(&[("my.toml", toml)]);
        let config = setup.config("--config my.toml");
        assert_eq!(config.log, LogLevel::Debug);
        assert_eq!((config.agent.prompt.as_str(), config.agent.business.as_str()), ("Be brief.", "Harbour Dental"));
        assert_eq!(
            (config.agent.reprompt_after, config.agent.call_max),
            (Duration::from_secs(20), Duration::from_secs(600))
        );
        assert_eq!(config.agent.answers[0].questions.len(), 2);
        assert_eq!(config.sip.advertised_address.map(|ip| ip.to_string()).as_deref(), Some("192.0.2.10"));
        assert_eq!((config.sip.calls_max, config.media.rtp_ports), (50, 30_000..=30_099));
        assert_eq!(config.media.port_rest, Duration::from_millis(500));
        assert_eq!(config.providers.models, setup.folder.path().join("kept/here"));
        assert_eq!(
            (config.providers.cartesia_voice.as_str(), config.providers.cartesia.model.as_str()),
            ("v-1", "sonic-3.6")
        );
    }

    #[test]
    fn accounts_and_trust_come_from_the_file() {
        let toml = r#"
            [sip]
            realm = "house"
            trusted = ["192.0.2.10", "10.0.0.0/8"]
            [sip.limits]
            messages_per_s = 1000
            ban_s = 60
            [[sip.accounts]]
            user = "agent001"
            password = "hunter2"
            [[sip.accounts]]
            user = "agent002"
            ha1 = "0123456789ABCDEF0123456789abcdef"
        "#;
        let sip = setup(&[("offhook.toml", toml)]).config("").sip;
        assert_eq!(
            sip.accounts.iter().map(|account| account.user.as_str()).collect::<Vec<_>>(),
            ["agent001", "agent002"]
        );
        assert!(!format!("{sip:?}").contains("hunter2"));
        assert_eq!(sip.algorithms, [DigestAlgorithm::Md5], "what agent002 cannot do is not offered");
        assert!(sip.trusted.iter().any(|network| network.contains("10.1.2.3".parse().expect("an address"))));
        assert_eq!((sip.realm.as_str(), sip.limits.messages_per_s, sip.limits.ban.as_secs()), ("house", 1000, 60));
        for (toml, what) in [
            ("[[sip.accounts]]\nuser = \"a\"\npassword = 5", "sip.accounts.password in "),
            ("[[sip.accounts]]\nuser = \"a\"\npasword = \"hunter2\"", "did you mean password?"),
            (
                "[sip]\ntrusted = [\"10.0.0.1/8\"]",
                "sip.trusted in offhook.toml: \"10.0.0.1/8\" is not an address or a network",
            ),
            ("[sip]\nrealm = \"a\\\"b\"", "sip.realm in offhook.toml"),
            ("[sip.limits]\nmessages_burst = 0", "sip.limits.messages_burst in offhook.toml: 0 is not a whole number"),
        ] {
            let error = setup(&[("offhook.toml", toml)]).error("");
            assert!(error.contains(what) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn ha1_knows_the_realm_of_the_file() {
        let setup = setup(&[("offhook.toml", "[sip]\nrealm = \"house\"")]);
        let ha1 = setup.load("ha1 agent001").expect("a command").1;
        assert_eq!(ha1, Command::Ha1 { user: "agent001".into(), realm: "house".into() });
        assert!(setup.error("ha1 a:b").starts_with("ha1 USER: "));
    }

    #[test]
    fn models_is_a_command_and_help_says_it_all() {
        assert_eq!(setup(&[]).load("models").expect("a command").1, Command::Models);
        assert_eq!(setup(&[]).load("--start").expect("a flag").1, Command::Run);
        let (_, Command::Print(help)) = setup(&[]).load("--help").expect("help") else { panic!("help is printed") };
        let mut missing = String::new();
        let flags = ["--start", "--api", "--sip", "--rtp-ports", "--config", "--env-file", "models", "offhook.toml"];
        for name in flags.into_iter().chain(super::super::environment::VARIABLES.iter().map(|(name, _)| *name)) {
            if !help.contains(name) {
                let _ = write!(missing, "{name} ");
            }
        }
        assert_eq!(missing, "");
        let (_, Command::Print(version)) = setup(&[]).load("--version").expect("version") else { panic!("printed") };
        assert_eq!(version.trim(), concat!("offhook ", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_texts_of_help_are_the_defaults() {
        let p = super::super::Providers::default();
        let defaults = [
            ("DEEPGRAM_BASE_URL", p.deepgram.base_url),
            ("DEEPGRAM_MODEL", p.deepgram.model),
            ("GROQ_BASE_URL", p.groq.base_url),
            ("GROQ_MODEL", p.groq.model),
            ("CARTESIA_BASE_URL", p.cartesia.base_url),
            ("CARTESIA_MODEL", p.cartesia.model),
            ("AURA_MODEL", p.aura_model),
            ("ELEVENLABS_BASE_URL", p.elevenlabs.base_url),
            ("ELEVENLABS_MODEL", p.elevenlabs.model),
            ("OPENAI_BASE_URL", p.openai.base_url),
        ];
        for (name, value) in defaults {
            let (_, line) = super::super::environment::VARIABLES.iter().find(|(n, _)| *n == name).expect(name);
            assert!(line.ends_with(&format!("default {value}")), "{name}: {line}");
        }
    }

    #[test]
    fn the_phrases_of_a_listening_caller_are_those_of_the_file() {
        let agent = |toml: &str| setup(&[("offhook.toml", toml)]).config("").agent;
        let usual = agent("");
        assert!(usual.backchannels.contains(&"uh huh".to_owned()) && usual.hard_words.contains(&"stop".to_owned()));
        let hindi = agent("[agent]\nbackchannels = [\"haan\", \"accha\"]\nhard_words = []\n");
        assert_eq!((hindi.backchannels, hindi.hard_words), (vec!["haan".to_owned(), "accha".to_owned()], Vec::new()));
        let error = setup(&[("offhook.toml", "[agent]\nbackchannels = [\" \"]\n")]).error("");
        assert!(error.contains("agent.backchannels") && error.contains("is not a phrase of 1 to 60"), "{error}");
    }

    #[test]
    fn speculation_can_be_switched_off_and_its_waste_bounded() {
        let agent = |text: &str| setup(&[("offhook.toml", text)]).config("").agent;
        let usual = agent("");
        assert!(usual.speculation && usual.speculation_waste_max > 0.0);
        assert!(!agent("[agent]\nspeculation = false\n").speculation);
        assert!(!agent("[agent]\ninterruptible_greeting = false\n").interruptible_greeting);
        assert_eq!(agent("[agent]\nspeculation_waste_max = 0\n").speculation_waste_max, 0.0);
        assert_eq!(agent("[agent]\nspeculation_waste_max = 0.5\n").speculation_waste_max, 0.5);
        for wrong in ["1.5", "-0.1", "nan"] {
            let text = format!("[agent]\nspeculation_waste_max = {wrong}\n");
            let error = setup(&[("offhook.toml", text.as_str())]).error("");
            assert!(error.contains("agent.speculation_waste_max") && error.contains("from 0.0 to 1.0"), "{error}");
        }
    }

    #[test]
    fn fillers_and_what_they_wait_for_are_set_and_bounded() {
        let agent = |text: &str| setup(&[("offhook.toml", text)]).config("").agent;
        let usual = agent("");
        assert!(usual.fillers.len() > 1 && usual.filler_after < Duration::from_millis(1800));
        assert!(agent("[agent]\nfillers = []\n").fillers.is_empty());
        let own = agent("[agent]\nfillers = [\"Hm.\"]\nfiller_after_ms = 900\nnot_heard = \"Pardon?\"\n");
        assert_eq!((own.fillers, own.filler_after), (vec!["Hm.".to_owned()], Duration::from_millis(900)));
        assert_eq!(own.not_heard, "Pardon?");
        let long = format!("fillers = [\"{}\"]", "x".repeat(61));
        let many = format!("fillers = [{}]", "\"Hm.\",".repeat(17));
        for (wrong, name) in [
            (long.as_str(), "agent.fillers"),
            (many.as_str(), "agent.fillers"),
            ("fillers = [\" \"]", "agent.fillers"),
            ("filler_after_ms = 100", "agent.filler_after_ms"),
        ] {
            let error = setup(&[("offhook.toml", format!("[agent]\n{wrong}\n").as_str())]).error("");
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_turn_budget_is_set_bounded_and_switched_off() {
        let slo = |text: &str| setup(&[("offhook.toml", text)]).config("").slo;
        assert_eq!(slo("").map(|slo| (slo.turn, slo.share)), Some((Duration::from_millis(900), 0.95)));
        let own = slo("[slo]\nturn_ms = 700\nshare = 0.9\n");
        assert_eq!(own.map(|slo| (slo.turn, slo.share)), Some((Duration::from_millis(700), 0.9)));
        assert_eq!(slo("[slo]\nturn_ms = 0\n"), None);
        for (wrong, named) in
            [("turn_ms = 60001", "slo.turn_ms"), ("turn_ms = -1", "slo.turn_ms"), ("share = 2", "slo.share")]
        {
            let text = format!("[slo]\n{wrong}\n");
            let error = setup(&[("offhook.toml", text.as_str())]).error("");
            assert!(error.contains(named), "{error}");
        }
    }
}
