//! The commands on users, roles and authentication.

use cli::flags::{Flag, Kind};

use super::action::{Action, Command};

const PREFIX: Flag = Flag::switch("prefix", "all keys that start with <key>");
const FROM_KEY: Flag = Flag::switch("from-key", "all keys from <key> on, in byte order");
const INTERACTIVE: Flag = Flag::new(
    "interactive",
    Kind::Bool,
    "true",
    "ask for the password twice; if false, read it once from stdin",
);

pub(super) const AUTH: Command = Command::group(
    "auth",
    "Enables or disables authentication",
    &[
        Command::run(
            "disable",
            "",
            "Disables authentication",
            &[],
            Action::AuthDisable,
        ),
        Command::run(
            "enable",
            "",
            "Enables authentication",
            &[],
            Action::AuthEnable,
        )
        .long("The user root must be there; it gets the role root if it has not."),
        Command::run(
            "status",
            "",
            "Prints whether authentication is on",
            &[],
            Action::AuthStatus,
        ),
    ],
);

pub(super) const USER: Command = Command::group(
    "user",
    "User related commands",
    &[
        Command::run(
            "add",
            "[options] <user name or user:password>",
            "Adds a user",
            &[
                INTERACTIVE,
                Flag::new(
                    "new-user-password",
                    Kind::Text,
                    "",
                    "the password (others can see it in the list of processes)",
                ),
                Flag::switch(
                    "no-password",
                    "a user without password, for client certificates",
                ),
            ],
            Action::UserAdd,
        ),
        Command::run(
            "delete",
            "<user name>",
            "Deletes a user",
            &[],
            Action::UserDelete,
        ),
        Command::run(
            "get",
            "[options] <user name>",
            "Prints the roles of a user",
            &[Flag::switch(
                "detail",
                "print the permissions of the roles as well",
            )],
            Action::UserGet,
        ),
        Command::run(
            "grant-role",
            "<user name> <role name>",
            "Grants a role to a user",
            &[],
            Action::UserGrantRole,
        ),
        Command::run("list", "", "Lists the users", &[], Action::UserList),
        Command::run(
            "passwd",
            "[options] <user name>",
            "Changes the password of a user",
            &[INTERACTIVE],
            Action::UserPasswd,
        ),
        Command::run(
            "revoke-role",
            "<user name> <role name>",
            "Takes a role from a user",
            &[],
            Action::UserRevokeRole,
        ),
    ],
);

pub(super) const ROLE: Command = Command::group(
    "role",
    "Role related commands",
    &[
        Command::run("add", "<role name>", "Adds a role", &[], Action::RoleAdd),
        Command::run(
            "delete",
            "<role name>",
            "Deletes a role",
            &[],
            Action::RoleDelete,
        ),
        Command::run(
            "get",
            "<role name>",
            "Prints the permissions of a role",
            &[],
            Action::RoleGet,
        ),
        Command::run(
            "grant-permission",
            "[options] <role name> <read|write|readwrite> <key> [endkey]",
            "Grants keys to a role",
            &[PREFIX, FROM_KEY],
            Action::RoleGrantPermission,
        ),
        Command::run("list", "", "Lists the roles", &[], Action::RoleList),
        Command::run(
            "revoke-permission",
            "[options] <role name> <key> [endkey]",
            "Takes keys from a role",
            &[PREFIX, FROM_KEY],
            Action::RoleRevokePermission,
        ),
    ],
);
