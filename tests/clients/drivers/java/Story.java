// pgjdbc.

import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.HexFormat;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;

class Story {
    static final String TEXT = "größe 🐘 'quoted' \\ \"twice\"";
    static final StringBuilder seen = new StringBuilder("{");

    static void say(String name, String json) {
        seen.append(seen.length() > 1 ? ", " : "").append('"').append(name).append("\": ").append(json);
    }

    static String quote(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    static Connection connect() throws SQLException {
        var properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("sslmode", "verify-full");
        properties.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        return DriverManager.getConnection(url, properties);
    }

    static String value(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            rows.next();
            return rows.getString(1);
        }
    }

    static void execute(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(query);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Connection connection = connect();
        say("user", quote(value(connection, "select current_user")));
        say("one", value(connection, "select 1"));
        try (PreparedStatement statement = connection.prepareStatement("select ?::int, ?::text, ?::text, ?::bytea")) {
            statement.setInt(1, 42);
            statement.setString(2, TEXT);
            statement.setString(3, null);
            statement.setBytes(4, HexFormat.of().parseHex("00ff27"));
            ResultSet rows = statement.executeQuery();
            rows.next();
            say("parameters", "[" + rows.getInt(1) + ", " + quote(rows.getString(2)) + ", " + rows.getString(3) + ", "
                    + quote(HexFormat.of().formatHex(rows.getBytes(4))) + "]");
        }
        int sum = 0; // from the fifth time on it is a prepared statement of the server's
        try (PreparedStatement statement = connection.prepareStatement("select ?::int")) {
            for (int i = 1; i <= 10; i++) {
                statement.setInt(1, i);
                ResultSet rows = statement.executeQuery();
                rows.next();
                sum += rows.getInt(1);
            }
        }
        say("prepared", String.valueOf(sum));

        execute(connection, "create temp table fruit (name text primary key)");
        connection.setAutoCommit(false);
        execute(connection, "insert into fruit values ('apple')");
        connection.rollback();
        say("after_rollback", value(connection, "select count(*) from fruit"));
        try (PreparedStatement statement = connection.prepareStatement("insert into fruit values (?)")) {
            for (String name : new String[] {"apple", "pear"}) {
                statement.setString(1, name);
                statement.addBatch();
            }
            statement.executeBatch();
        }
        connection.commit();
        connection.setAutoCommit(true);
        say("after_commit", value(connection, "select count(*) from fruit"));
        try {
            execute(connection, "insert into fruit values ('pear')");
        } catch (PSQLException error) {
            say("error", "[" + quote(error.getSQLState()) + ", " + quote(error.getServerErrorMessage().getMessage()) + "]");
        }
        say("after_error", value(connection, "select 1"));

        Statement sleeper = connection.createStatement();
        Thread canceller = new Thread(() -> {
            try {
                Thread.sleep(500);
                sleeper.cancel();
            } catch (Exception error) {
                throw new RuntimeException(error);
            }
        });
        canceller.start();
        try {
            sleeper.execute("select pg_sleep(600)");
        } catch (SQLException error) {
            say("cancelled", quote(error.getSQLState()));
        }
        canceller.join();
        say("after_cancel", value(connection, "select 1"));

        execute(connection, "create temp table copied (i int, t text)");
        CopyManager copying = connection.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 10000; i++) {
            lines.append(i).append('\t').append(TEXT.replace("\\", "\\\\")).append('\n');
        }
        copying.copyIn("copy copied from stdin", new StringReader(lines.toString()));
        try (PreparedStatement statement = connection.prepareStatement("select count(*) from copied where t = ?")) {
            statement.setString(1, TEXT);
            ResultSet rows = statement.executeQuery();
            rows.next();
            say("copied_in", rows.getString(1));
        }
        say("copied_out", String.valueOf(copying.copyOut("copy copied to stdout", new ByteArrayOutputStream())));

        System.out.println("sleep");
        System.in.read();
        if (!connection.isValid(5)) { // as a pool asks before it hands one out
            connection.close();
            connection = connect();
        }
        say("woken", value(connection, "select 1"));
        connection.close();
        System.out.println(seen + "}");
    }
}
